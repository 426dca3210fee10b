//! The expansions. They stay small because all behaviour is in the runtime, where it is compiled
//! once and can be read as ordinary Rust.

mod history;
mod lock;
mod locked;
mod output;
mod retry;
mod rules;
mod shell;
mod transactional;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::{Signature, spanned::Spanned};

use crate::grammar::{Locked, Options};
use crate::item::{Arguments, Function};

pub(crate) use output::output;
use shell::Shell;

/// A function without a return type has been refused, and stays as it is.
pub(crate) fn transactional(function: &Function, options: &Options) -> TokenStream {
    match Shell::new(function, options.krate.as_ref()) {
        Some(shell) => transactional::expand(&shell, options),
        None => function.to_token_stream(),
    }
}

pub(crate) fn locked(function: &Function, locked: &Locked) -> TokenStream {
    match Shell::new(function, locked.krate.as_ref()) {
        Some(shell) => locked::expand(&shell, &locked.lock),
        None => function.to_token_stream(),
    }
}

/// `self.db` in a method, the argument `db` elsewhere. The tokens of the signature are used,
/// because a `db` of the macro's own hygiene would be another variable.
pub(crate) fn default_db(sig: &Signature) -> Option<TokenStream> {
    if let Some(receiver) = sig.receiver() {
        let this = &receiver.self_token;
        // A struct without a field `db` is reported at the attribute, where `db = ..` belongs.
        let span = Span::call_site();
        return Some(quote_spanned!(span=> #this.db));
    }
    let arguments = Arguments::of(sig);
    arguments.find("db").map(ToTokens::to_token_stream)
}

/// Errors point at the tokens, lints see a macro, and user code cannot name what has this span.
fn located_at(tokens: &impl Spanned) -> Span {
    Span::mixed_site().located_at(tokens.span())
}
