//! `#[locked]`.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote_spanned};

use super::lock::keys;
use super::shell::Shell;
use super::{default_db, located_at};
use crate::grammar::Lock;

// Input:
//     #[locked(key = "report:{account}", on = self.locks)]
//     async fn report(&self, account: i64) -> Result<(), Error> { BODY }
//
// Output:
//     async fn report(&self, account: i64) -> Result<(), Error> {
//         __private::locked(&self.locks, Lock::keys([format!("report:{0}", account)]), async || {
//             if let Some(__tx_return) = None::<Result<(), Error>> { return __tx_return; }
//             { BODY }
//         })
//         .await
//     }
pub(super) fn expand(shell: &Shell, lock: &Lock) -> TokenStream {
    let krate = shell.krate(shell.span);
    let (start, on) = on(shell, lock);
    let lock = keys(shell, lock);
    let function = shell.function(|body| {
        let closure = shell.closure(None, body);
        quote_spanned!(shell.span=>
            #start
            #krate::__private::locked(#on, #lock, #closure).await
        )
    });
    function.into_token_stream()
}

/// The default database is cloned, because the body may need all of `self` mutably.
fn on(shell: &Shell, lock: &Lock) -> (Option<TokenStream>, TokenStream) {
    if let Some(on) = &lock.on {
        let (span, on) = (located_at(&on.value), &on.value);
        return (None, quote_spanned!(span=> &#on));
    }
    let (krate, span) = (shell.krate(shell.span), shell.span);
    let db = default_db(&shell.function.sig);
    let name = Ident::new("__tx_db", span);
    let start = quote_spanned!(span=>
        let #name = ::core::clone::Clone::clone(#krate::__private::db(&#db));
    );
    (Some(start), quote_spanned!(span=> &#name))
}
