//! A lock that contradicts itself, whatever function it is for.

use syn::Error;

use crate::grammar::{Given, Lock};

pub(crate) fn all(options: &Lock, timeout: Option<&Given<Option<u64>>>) -> Vec<Error> {
    let found = [
        named_once(options),
        waited_for(options),
        within(options, timeout),
    ];
    found
        .into_iter()
        .flatten()
        .chain(repeated(options))
        .collect()
}

fn named_once(options: &Lock) -> Option<Error> {
    let (_, keys) = (options.key.as_ref()?, options.keys.as_ref()?);
    let message = "`key` and `keys` are both set\nhelp: write all of them as `keys = [..]`";
    Some(Error::new(keys.key.span(), message))
}

fn waited_for(options: &Lock) -> Option<Error> {
    let (wait, _) = (options.wait.as_ref()?, options.no_wait.as_ref()?);
    let message = "`try` does not wait, so `wait` has no effect\nhelp: remove one of them";
    Some(Error::new(wait.key.span(), message))
}

/// The time limit of the whole function includes the waiting.
fn within(options: &Lock, timeout: Option<&Given<Option<u64>>>) -> Option<Error> {
    let (wait, timeout) = (options.wait.as_ref()?, timeout?.value?);
    let message = "`timeout` ends the function before this `wait` is over, since it includes the \
                   waiting\n\
                   help: make `wait` shorter than `timeout`";
    (wait.value >= timeout).then(|| Error::new(wait.key.span(), message))
}

fn repeated(options: &Lock) -> Vec<Error> {
    let texts: Vec<_> = options.keys().map(|key| &key.text).collect();
    let mut errors = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        if texts[..index]
            .iter()
            .any(|other| other.value() == text.value())
        {
            let message = format!(
                "`{}` is locked twice\nhelp: remove one of them",
                text.value()
            );
            errors.push(Error::new(text.span(), message));
        }
    }
    errors
}
