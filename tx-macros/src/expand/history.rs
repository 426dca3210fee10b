//! The value that says who makes the changes.

use proc_macro2::TokenStream;
use quote::quote_spanned;

use super::located_at;
use super::shell::Shell;
use crate::grammar::History;

// Input:
//     history(actor = user.id, reason = "signed up")
//
// Output:
//     Author::new(&user.id).reason(&"signed up")
pub(super) fn author(shell: &Shell, history: &History) -> TokenStream {
    let krate = shell.krate(shell.span);
    let actor = history.actor.as_ref().map(|actor| {
        let (span, actor) = (located_at(&actor.value), &actor.value);
        quote_spanned!(span=> &#actor)
    });
    let reason = history.reason.as_ref().map(|reason| {
        let (span, reason) = (located_at(&reason.value), &reason.value);
        quote_spanned!(span=> .reason(&#reason))
    });
    quote_spanned!(shell.span=> #krate::Author::new(#actor) #reason)
}
