//! The value that says what is locked.

use proc_macro2::{Literal, Span, TokenStream};
use quote::quote_spanned;
use syn::Member;

use super::located_at;
use super::shell::Shell;
use crate::grammar::{Hole, Lock, Template, Wait};
use crate::item::Arguments;

// Input:
//     lock(keys = ["a:{from}", "b"], wait = "2s", on = self.locks)
//
// Output:
//     Lock::keys([format!("a:{0}", from), String::from("b")])
//         .wait(Duration::from_millis(2000))
//         .on(&self.locks)
pub(super) fn lock(shell: &Shell, lock: &Lock) -> TokenStream {
    let on = lock.on.as_ref().map(|on| {
        let (span, on) = (located_at(&on.value), &on.value);
        quote_spanned!(span=> .on(&#on))
    });
    let lock = keys(shell, lock);
    quote_spanned!(shell.span=> #lock #on)
}

/// The lock without what it is taken on.
pub(super) fn keys(shell: &Shell, lock: &Lock) -> TokenStream {
    let krate = shell.krate(shell.span);
    let arguments = Arguments::of(&shell.function.sig);
    let keys = lock.keys().map(|key| text(&arguments, key));
    let label = lock.label.as_ref().map(|label| {
        let label = text(&arguments, &label.value);
        quote_spanned!(shell.span=> .label(#label))
    });
    let wait = match lock.wait() {
        Wait::Default => None,
        Wait::Not => Some(quote_spanned!(shell.span=> .no_wait())),
        Wait::Millis(millis) => {
            Some(quote_spanned!(shell.span=> .wait(::core::time::Duration::from_millis(#millis))))
        }
    };
    quote_spanned!(shell.span=> #krate::Lock::keys([#(#keys),*]) #wait #label)
}

fn text(arguments: &Arguments, key: &Template) -> TokenStream {
    let span = located_at(&key.text);
    if key.holes.is_empty() {
        // Also takes care of doubled braces, which are for `format!` only.
        let text = key.format.replace("{{", "{").replace("}}", "}");
        return quote_spanned!(span=> ::std::string::String::from(#text));
    }
    let mut format = Literal::string(&key.format);
    format.set_span(key.text.span());
    let values = key.holes.iter().map(|hole| value(arguments, key, hole));
    quote_spanned!(span=> ::std::format!(#format, #(#values),*))
}

/// The argument as the signature knows it, and an error about it at the key.
fn value(arguments: &Arguments, key: &Template, hole: &Hole) -> TokenStream {
    let span = key.text.span();
    let argument = arguments.find(&hole.argument).map(|argument| {
        let mut argument = argument.clone();
        argument.set_span(argument.span().located_at(span));
        argument
    });
    let fields = hole.fields.iter().map(|field| at(field.clone(), span));
    quote_spanned!(span=> #argument #(.#fields)*)
}

fn at(mut member: Member, span: Span) -> Member {
    match &mut member {
        Member::Named(name) => name.set_span(span),
        Member::Unnamed(index) => index.span = span,
    }
    member
}
