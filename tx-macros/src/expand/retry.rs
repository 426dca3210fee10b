//! `retry`. The loop stands in the function, because the closure of an attempt borrows its
//! arguments: handed over to be called several times, it would lose `Send`.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::visit_mut::{self, VisitMut};
use syn::{FnArg, PatIdent, Signature};

use super::located_at;
use super::shell::Shell;
use crate::grammar::Retry;
use crate::item::by_value;

/// `.retry(Retry::attempts(5).backoff(..))`
pub(super) fn setting(shell: &Shell, retry: &Retry) -> TokenStream {
    let krate = shell.krate(shell.span);
    let attempts = retry.attempts.as_ref().map(|given| given.value);
    let backoff = retry.backoff.as_ref().map(|given| {
        let (first, longest) = given.value;
        quote_spanned!(shell.span=>
            .backoff(
                ::core::time::Duration::from_millis(#first),
                ::core::time::Duration::from_millis(#longest),
            )
        )
    });
    let idempotent = retry.idempotent.as_ref();
    let idempotent = idempotent.map(|_| quote_spanned!(shell.span=> .idempotent()));
    quote_spanned!(shell.span=> .retry(#krate::Retry::attempts(#attempts) #backoff #idempotent))
}

// Output:
//     let mut __tx_attempts = __private::attempts(&__tx_db, OPTIONS, RULES);
//     loop {
//         let __tx_attempt = __tx_attempts.attempt(async || {
//             let asset = __private::again(&asset);
//             BODY
//         });
//         if let Some(__tx_result) = __tx_attempt.await { break __tx_result; }
//     }
pub(super) fn expand(
    shell: &Shell,
    db: &TokenStream,
    lock: Option<&TokenStream>,
    settings: &TokenStream,
    rules: &TokenStream,
) -> TokenStream {
    let krate = shell.krate(shell.span);
    let name = if lock.is_some() {
        "attempts_locked"
    } else {
        "attempts"
    };
    let attempts = Ident::new(name, shell.span);
    let lock = lock.into_iter();
    let mut function = shell.function(|body| {
        let closure = shell.closure(Some(&clones(shell)), body);
        quote_spanned!(shell.span=>
            #db
            let mut __tx_attempts =
                #krate::__private::#attempts(&__tx_db, #(#lock,)* #settings, #rules);
            loop {
                let __tx_attempt = __tx_attempts.attempt(#closure);
                if let ::core::option::Option::Some(__tx_result) = __tx_attempt.await {
                    break __tx_result;
                }
            }
        )
    });
    without_mut(&mut function.sig);
    function.into_token_stream()
}

/// Every attempt has the arguments as the caller gave them.
fn clones(shell: &Shell) -> TokenStream {
    let used = by_value(&shell.function.sig);
    let used = used
        .iter()
        .filter(|argument| mentions(&shell.function.body, &argument.ident));
    let clones = used.map(|argument| {
        let (span, name) = (located_at(&argument.ident), &argument.ident);
        let (krate, mutability) = (shell.krate(span), &argument.mutability);
        quote_spanned!(span=> let #mutability #name = #krate::__private::again(&#name);)
    });
    clones.collect()
}

fn mentions(body: &TokenStream, name: &Ident) -> bool {
    body.clone().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => mentions(&group.stream(), name),
        _ => false,
    })
}

/// The `mut` of an argument is for its clones.
fn without_mut(sig: &mut Signature) {
    for input in &mut sig.inputs {
        if let FnArg::Typed(argument) = input
            && !matches!(*argument.ty, syn::Type::Reference(_))
        {
            MutEraser.visit_pat_mut(&mut argument.pat);
        }
    }
}

struct MutEraser;

impl VisitMut for MutEraser {
    fn visit_pat_ident_mut(&mut self, binding: &mut PatIdent) {
        if binding.by_ref.is_none() {
            binding.mutability = None;
        }
        visit_mut::visit_pat_ident_mut(self, binding);
    }
}
