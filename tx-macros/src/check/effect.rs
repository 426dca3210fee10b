//! Options that the propagation leaves without an effect. None of them is ignored silently.

use proc_macro2::Ident;
use syn::Error;

use crate::grammar::{Given, Options, Propagation};

pub(crate) fn all(options: &Options) -> Vec<Error> {
    let of_own_transaction = [
        key(options.history.as_ref()),
        key(options.isolation.as_ref()),
        key(options.read_only.as_ref()),
        key(options.timeout.as_ref()),
        key(options.retry.as_ref()),
    ];
    let of_own_begin = [
        key(options.history.as_ref()),
        key(options.isolation.as_ref()),
        key(options.retry.as_ref()),
    ];
    let of_any_transaction = [
        key(options.no_rollback_for.as_ref()),
        key(options.rollback_for.as_ref()),
        key(options.rollback_if.as_ref()),
    ];
    match options.propagation() {
        Propagation::Required | Propagation::RequiresNew | Propagation::Isolated => Vec::new(),
        Propagation::Nested => {
            let reason = "`Nested` opens a savepoint inside the outer transaction";
            refuse(of_own_begin, reason, "RequiresNew")
        }
        Propagation::Mandatory => {
            let reason = "`Mandatory` joins the caller's transaction";
            refuse(of_own_transaction, reason, "RequiresNew")
        }
        Propagation::Supports => {
            let reason = "`Supports` never begins a transaction";
            refuse(of_own_transaction, reason, "Required")
        }
        Propagation::NotSupported => {
            without_transaction("NotSupported", of_own_transaction, of_any_transaction)
        }
        Propagation::Never => without_transaction("Never", of_own_transaction, of_any_transaction),
    }
}

fn without_transaction<'a>(
    mode: &str,
    of_own: impl IntoIterator<Item = Option<&'a Ident>>,
    of_any: impl IntoIterator<Item = Option<&'a Ident>>,
) -> Vec<Error> {
    let reason = format!("`{mode}` runs without a transaction");
    refuse(of_own.into_iter().chain(of_any), &reason, "Required")
}

fn key<T>(given: Option<&Given<T>>) -> Option<&Ident> {
    given.map(|given| &given.key)
}

fn refuse<'a>(
    keys: impl IntoIterator<Item = Option<&'a Ident>>,
    reason: &str,
    remedy: &str,
) -> Vec<Error> {
    let keys = keys.into_iter().flatten();
    let refused = keys.map(|key| {
        let message = format!(
            "`{key}` has no effect here: {reason}\n\
             help: remove `{key}`, or use `propagation = {remedy}`"
        );
        Error::new(key.span(), message)
    });
    refused.collect()
}
