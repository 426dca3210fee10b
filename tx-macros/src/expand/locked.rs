//! `#[locked]`.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote_spanned};

use super::lock::keys;
use super::rules;
use super::shell::Shell;
use super::{default_db, located_at};
use crate::grammar::Lock;

// Input:
//     #[locked(key = "report:{account}", on = self.locks)]
//     async fn report(&self, account: i64) -> Result<(), Error> { BODY }
//
// Output:
//     async fn report(&self, account: i64) -> Result<(), Error> {
//         let __tx_on = __private::provider(&self.locks);
//         __private::locked(
//             __tx_on,
//             Lock::keys([format!("report:{0}", account)]),
//             __private::site("module::report"),
//             __private::Until::default(),
//             __private::known(PhantomData::<Result<(), Error>>).rules(),
//             async || {
//                 if false { return __private::never::<Result<(), Error>>(); }
//                 { BODY }
//             },
//         )
//         .await
//     }
pub(super) fn expand(shell: &Shell, lock: &Lock) -> TokenStream {
    let krate = shell.krate(shell.span);
    let on = on(shell, lock);
    let (lock, name) = (keys(shell, lock), shell.name(None));
    let rules = rules::known(shell);
    let function = shell.function(|body| {
        let closure = shell.closure(None, body);
        quote_spanned!(shell.span=>
            #on
            #krate::__private::locked(
                __tx_on,
                #lock,
                #krate::__private::site(#name),
                #krate::__private::Until::default(),
                #rules,
                #closure,
            )
            .await
        )
    });
    function.into_token_stream()
}

/// A handle of its own, because the body may need all of `self` mutably.
fn on(shell: &Shell, lock: &Lock) -> TokenStream {
    let name = Ident::new("__tx_on", shell.span);
    if let Some(on) = &lock.on {
        let (span, on) = (located_at(&on.value), &on.value);
        let krate = shell.krate(span);
        return quote_spanned!(span=> let #name = #krate::__private::provider(&#on););
    }
    let krate = shell.krate(shell.span);
    let db = default_db(&shell.function.sig);
    quote_spanned!(shell.span=>
        let #name = #krate::__private::provider(#krate::__private::db(&#db));
    )
}
