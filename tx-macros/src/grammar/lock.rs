//! What is locked, and how: `lock = ".."`, `lock(key = "..", wait = "2s")` and `#[locked(..)]`.

use proc_macro2::{Ident, TokenStream};
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Error, Expr, LitStr, Path, Result, Token, bracketed, token};

use super::duration::duration;
use super::list::{Given, Keyed, set, set_flag, set_list};
use super::options::{Exception, absolute_path, expression};
use super::template::Template;

const EXAMPLE: &str = "\"interest-asset:{account}\"";

/// The keys and what to do while they are not free.
#[derive(Default)]
pub(crate) struct Lock {
    pub(crate) key: Option<Given<Vec<Template>>>,
    pub(crate) keys: Option<Given<Vec<Template>>>,
    pub(crate) wait: Option<Given<u64>>,
    pub(crate) no_wait: Option<Given<()>>,
    pub(crate) on: Option<Given<Expr>>,
    pub(crate) label: Option<Given<Template>>,
}

/// How long a lock is waited for.
pub(crate) enum Wait {
    Default,
    Millis(u64),
    Not,
}

impl Lock {
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Template> {
        let given = self.key.iter().chain(&self.keys);
        given.flat_map(|given| &given.value)
    }

    /// All texts over the arguments.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        let label = self.label.iter().map(|label| &label.value);
        self.keys().chain(label)
    }

    pub(crate) fn wait(&self) -> Wait {
        match &self.wait {
            _ if self.no_wait.is_some() => Wait::Not,
            Some(wait) => Wait::Millis(wait.value),
            None => Wait::Default,
        }
    }
}

impl Keyed for Lock {
    const KEYS: &'static [&'static str] = &["key", "keys", "wait", "try", "on", "label"];
    const OWNER: &'static str = "`lock` ";

    fn option(&mut self, key: Ident, input: ParseStream, _: &mut Vec<Error>) -> Result<()> {
        match key.to_string().as_str() {
            "key" => set(&mut self.key, key, input, EXAMPLE, one_key),
            "keys" => set(
                &mut self.keys,
                key,
                input,
                "[\"a:{from}\", \"a:{to}\"]",
                keys,
            ),
            "wait" => {
                let name = key.clone();
                set(&mut self.wait, key, input, "\"2s\"", |input| {
                    duration(
                        &name,
                        input,
                        "write `try` to take the lock only if it is free",
                    )
                })
            }
            "try" => set_flag(&mut self.no_wait, key, input),
            "label" => set(&mut self.label, key, input, "\"nightly import\"", label),
            _ => set(&mut self.on, key, input, "self.locks", expression),
        }
    }

    fn missing(&self, owner: &Ident) -> Option<Error> {
        if self.key.is_some() || self.keys.is_some() {
            return None;
        }
        let message = format!(
            "`{owner}` does not say what is locked\n\
             help: add `key = {EXAMPLE}`"
        );
        Some(Error::new(owner.span(), message))
    }

    fn meant(word: &str) -> Option<String> {
        let meant = match word {
            "name" => "key",
            "names" => "keys",
            "timeout" | "wait_timeout" | "max_wait" => "wait",
            "nowait" | "no_wait" | "try_lock" => "try",
            "provider" | "locks" | "db" => "on",
            "title" | "reason" | "description" | "purpose" => "label",
            _ => return None,
        };
        Some(meant.to_owned())
    }
}

/// `lock = ".."` or `lock(..)`.
pub(crate) fn lock(
    slot: &mut Option<Given<Lock>>,
    key: Ident,
    input: ParseStream,
    errors: &mut Vec<Error>,
) -> Result<()> {
    if input.peek(token::Paren) {
        return set_list(slot, key, input, "", errors);
    }
    let name = key.clone();
    set(slot, key, input, EXAMPLE, |input| {
        let value = one_key(input)?;
        let key = Some(Given { key: name, value });
        Ok(Lock {
            key,
            ..Lock::default()
        })
    })
}

fn one_key(input: ParseStream) -> Result<Vec<Template>> {
    if input.peek(token::Bracket) {
        let message = "several keys are written with `keys`\n\
                       help: write `lock(keys = [\"a:{from}\", \"a:{to}\"])`";
        return Err(input.error(message));
    }
    Ok(vec![template(input)?])
}

fn keys(input: ParseStream) -> Result<Vec<Template>> {
    if !input.peek(token::Bracket) {
        let message = "`keys` takes a list\nhelp: write `keys = [\"a:{from}\", \"a:{to}\"]`";
        return Err(input.error(message));
    }
    let content;
    let brackets = bracketed!(content in input);
    if content.is_empty() {
        let message = "`keys` is empty\nhelp: name what is locked, or leave the lock out";
        return Err(Error::new(brackets.span.join(), message));
    }
    let keys = Punctuated::<Template, Token![,]>::parse_terminated_with(&content, template);
    if keys.is_err() {
        // What is left of the list would be a mistake more to syn.
        let _ = content.parse::<TokenStream>();
    }
    Ok(keys?.into_iter().collect())
}

fn template(input: ParseStream) -> Result<Template> {
    let message = format!("the lock's key is text in quotes\nhelp: write it as {EXAMPLE}");
    Template::key(text(input, &message)?)
}

fn label(input: ParseStream) -> Result<Template> {
    let message = "the label is text in quotes\nhelp: write it as \"nightly import\"";
    Template::label(text(input, message)?)
}

fn text(input: ParseStream, otherwise: &str) -> Result<LitStr> {
    let start = input.fork();
    input.parse().map_err(|_| start.error(otherwise))
}

/// What `#[locked(..)]` says.
#[derive(Default)]
pub(crate) struct Locked {
    pub(crate) lock: Lock,
    pub(crate) allow: Option<Given<Exception>>,
    pub(crate) krate: Option<Given<Path>>,
}

impl Keyed for Locked {
    const KEYS: &'static [&'static str] = &[
        "key", "keys", "wait", "try", "on", "label", "allow", "crate",
    ];
    const OWNER: &'static str = "";

    fn option(&mut self, key: Ident, input: ParseStream, errors: &mut Vec<Error>) -> Result<()> {
        match key.to_string().as_str() {
            "allow" => set_list(&mut self.allow, key, input, "allow(spawn)", errors),
            "crate" => set(&mut self.krate, key, input, "::tx_runtime", absolute_path),
            _ => self.lock.option(key, input, errors),
        }
    }

    fn missing(&self, owner: &Ident) -> Option<Error> {
        self.lock.missing(owner)
    }

    fn meant(word: &str) -> Option<String> {
        Lock::meant(word)
    }
}
