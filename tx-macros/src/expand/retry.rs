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

/// `Retry::attempts(5).backoff(..)`
fn setting(shell: &Shell, retry: &Retry) -> TokenStream {
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
    quote_spanned!(shell.span=> #krate::Retry::attempts(#attempts) #backoff #idempotent)
}

/// What the loop needs beside the body.
pub(super) struct Parts {
    pub(super) db: TokenStream,
    pub(super) lock: Option<TokenStream>,
    pub(super) name: TokenStream,
    pub(super) settings: TokenStream,
    pub(super) rules: TokenStream,
}

// Output:
//     let mut __tx_attempts =
//         __private::Attempts::new(&__tx_db, OPTIONS, RULES, Retry::attempts(5));
//     let __tx_result = loop {
//         let __tx_attempt = __tx_attempts.make(async || {
//             let asset = __private::again(&asset);
//             BODY
//         });
//         if let Some(__tx_result) = __tx_attempt.await { break __tx_result; }
//     };
//     __tx_attempts.settle().await;
//     __tx_result
pub(super) fn expand(shell: &Shell, retry: &Retry, parts: Parts) -> TokenStream {
    let krate = shell.krate(shell.span);
    let Parts {
        db,
        lock,
        name,
        settings,
        rules,
    } = parts;
    let retry = setting(shell, retry);
    let mut function = shell.function(|body| {
        let closure = shell.closure(Some(&clones(shell)), body);
        let attempts = quote_spanned!(shell.span=>
            loop {
                let __tx_attempt = __tx_attempts.make(#closure);
                if let ::core::option::Option::Some(__tx_result) = __tx_attempt.await {
                    break __tx_result;
                }
            }
        );
        let attempts = under(shell, lock.as_ref(), &name, attempts);
        quote_spanned!(shell.span=>
            #db
            let mut __tx_attempts =
                #krate::__private::Attempts::new(&__tx_db, #settings, #rules, #retry);
            let __tx_result = #attempts;
            __tx_attempts.settle().await;
            __tx_result
        )
    });
    without_mut(&mut function.sig);
    function.into_token_stream()
}

/// The lock is held over all attempts.
fn under(
    shell: &Shell,
    lock: Option<&TokenStream>,
    name: &TokenStream,
    attempts: TokenStream,
) -> TokenStream {
    let Some(lock) = lock else {
        return attempts;
    };
    let krate = shell.krate(shell.span);
    quote_spanned!(shell.span=>
        #krate::__private::locked(
            #krate::__private::provider(&__tx_db),
            #lock,
            #krate::__private::site(#name),
            __tx_attempts.until(),
            __tx_attempts.rules(),
            async || #attempts,
        )
        .await
    )
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
