//! What can be refused by reading. What only types can tell (an alias that is no `Result`, an error
//! without `From`, a `db` that is no database) is left to the bounds of the runtime.

mod db;
mod effect;
mod function;
mod history;
mod key;
mod lock;
mod rollback;
mod spawn;

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::{Error, ReceiverKind};

use crate::grammar::{Locked, Options};
use crate::item::{Attr, Function};

/// Where the attribute stands that a function is decorated by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Function,
    ImplBlock,
}

/// Whether the options fit each other.
pub(crate) fn options(options: &Options, place: Place) -> Vec<Error> {
    let mut errors = effect::all(options);
    errors.extend(rollback::all(options));
    errors.extend(history::all(options));
    if let Some(lock) = &options.lock {
        errors.extend(lock::all(&lock.value, options.timeout.as_ref()));
    }
    if let (Some(name), Place::ImplBlock) = (&options.name, place) {
        let message = "`name` names one function, and this would name several\n\
                       help: write it in an attribute of that function's own";
        errors.push(Error::new(name.key.span(), message));
    }
    errors
}

/// Whether the function can be a transaction, and the options fit it.
pub(crate) fn transactional(function: &Function, options: &Options, place: Place) -> Vec<Error> {
    let mut errors = function::all(function, Attr::Transactional, place);
    errors.extend(db::transactional(function, options, place));
    if let Some(lock) = &options.lock {
        errors.extend(key::all(function, &lock.value));
    }
    if let Some(retry) = &options.retry {
        errors.extend(self_used_up(function, &retry.key));
    }
    errors.extend(spawn::unasked(
        function,
        Attr::Transactional,
        options.allow.as_ref(),
    ));
    errors
}

pub(crate) fn locked(function: &Function, locked: &Locked) -> Vec<Error> {
    let mut errors = lock::all(&locked.lock, None);
    errors.extend(function::all(function, Attr::Locked, Place::Function));
    errors.extend(db::locked(function, locked));
    errors.extend(key::all(function, &locked.lock));
    errors.extend(spawn::unasked(
        function,
        Attr::Locked,
        locked.allow.as_ref(),
    ));
    errors
}

/// Arguments are cloned for each attempt, but nothing in a body can be renamed to a clone of `self`.
fn self_used_up(function: &Function, retry: &Ident) -> Option<Error> {
    let receiver = function.sig.receiver()?;
    if !matches!(receiver.kind, ReceiverKind::Value) {
        return None;
    }
    let message = format!(
        "`{retry}` runs the body again, and the first attempt may have used `self` up\n\
         help: take `&self` or `&mut self`"
    );
    Some(Error::new(receiver.self_token.span, message))
}

/// The first token that is `self`.
fn find_self(tokens: TokenStream) -> Option<Ident> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if ident == "self" => Some(ident),
        TokenTree::Group(group) => find_self(group.stream()),
        _ => None,
    })
}
