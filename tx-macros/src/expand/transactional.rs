//! `#[transactional]`.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::Path;

use super::rules::rules;
use super::shell::Shell;
use super::{default_db, history, located_at, lock, retry};
use crate::grammar::{Given, Options, Word};

// Input:
//     #[transactional(propagation = RequiresNew)]
//     async fn add(&self, asset: i64) -> Result<(), Error> { BODY }
//
// Output:
//     async fn add(&self, asset: i64) -> Result<(), Error> {
//         let __tx_db = Clone::clone(__private::db(&self.db));
//         __private::run(
//             &__tx_db,
//             __private::options("module::add").propagation(Propagation::RequiresNew),
//             __private::known(PhantomData::<Result<(), Error>>).rules(),
//             async || {
//                 if false { return __private::never::<Result<(), Error>>(); }
//                 { BODY }
//             },
//         )
//         .await
//     }
pub(super) fn expand(shell: &Shell, options: &Options) -> TokenStream {
    let krate = shell.krate(shell.span);
    let db = db(shell, options);
    let lock = options.lock.as_ref();
    let lock = lock.map(|lock| lock::lock(shell, &lock.value));
    let (settings, rules) = (settings(shell, options), rules(shell, options));
    if let Some(retry) = &options.retry {
        let parts = retry::Parts {
            db,
            lock,
            name: shell.name(options.name.as_ref()),
            settings,
            rules,
        };
        return retry::expand(shell, &retry.value, parts);
    }
    let function = shell.function(|body| {
        let closure = shell.closure(None, body);
        let run = Ident::new(
            if lock.is_some() { "run_locked" } else { "run" },
            shell.span,
        );
        let lock = lock.iter();
        quote_spanned!(shell.span=>
            #db
            #krate::__private::#run(&__tx_db, #(#lock,)* #settings, #rules, #closure).await
        )
    });
    function.into_token_stream()
}

/// A clone, because the body may need all of `self` mutably. A statement, so that whatever
/// `db = ..` locks on its way to the database is open again before the body runs.
fn db(shell: &Shell, options: &Options) -> TokenStream {
    let (db, span) = match &options.db {
        Some(db) => (db.value.to_token_stream(), located_at(&db.value)),
        None => (
            default_db(&shell.function.sig).to_token_stream(),
            shell.span,
        ),
    };
    let krate = shell.krate(span);
    let name = Ident::new("__tx_db", shell.span);
    quote_spanned!(span=>
        let #name = ::core::clone::Clone::clone(#krate::__private::db(&#db));
    )
}

fn settings(shell: &Shell, options: &Options) -> TokenStream {
    let krate = shell.krate(shell.span);
    let name = shell.name(options.name.as_ref());
    let propagation = options.propagation.as_ref();
    let propagation = propagation.map(|given| word(shell, "Propagation", given));
    let isolation = options.isolation.as_ref();
    let isolation = isolation.map(|given| word(shell, "Isolation", given));
    let read_only = options.read_only.as_ref();
    let read_only = read_only.map(|_| quote_spanned!(shell.span=> .read_only()));
    let timeout = options.timeout.as_ref().map(|given| {
        let limit = given.value.map_or_else(
            || quote_spanned!(shell.span=> MAX),
            |millis| quote_spanned!(shell.span=> from_millis(#millis)),
        );
        quote_spanned!(shell.span=> .timeout(::core::time::Duration::#limit))
    });
    let history = options.history.as_ref().map(|given| {
        let author = history::author(shell, &given.value);
        quote_spanned!(shell.span=> .history(#author))
    });
    quote_spanned!(shell.span=>
        #krate::__private::options(#name)
            #propagation #isolation #read_only #timeout #history
    )
}

/// A path is left as written, so that its import counts as used; a lone word is completed.
fn word<T>(shell: &Shell, ty: &str, given: &Given<Word<T>>) -> TokenStream {
    let path: &Path = &given.value.path;
    let krate = shell.krate(shell.span);
    let setter = Ident::new(&given.key.to_string(), shell.span);
    let ty = Ident::new(ty, shell.span);
    if path.get_ident().is_some() {
        return quote_spanned!(shell.span=> .#setter(#krate::#ty::#path));
    }
    quote_spanned!(shell.span=> .#setter(#path))
}
