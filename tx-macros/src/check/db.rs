//! Which database, and whether the function can reach it.

use quote::ToTokens;
use syn::{Error, Expr};

use super::{Place, find_self};
use crate::expand::default_db;
use crate::grammar::{Given, Locked, Options};
use crate::item::Function;

pub(crate) fn transactional(function: &Function, options: &Options, place: Place) -> Vec<Error> {
    let on = options
        .lock
        .as_ref()
        .and_then(|lock| lock.value.on.as_ref());
    let known = options.db.is_some() || default_db(&function.sig).is_some();
    let name = &function.sig.ident;
    let unknown = (!known).then(|| {
        let exempt = match place {
            Place::Function => "",
            Place::ImplBlock => ", or exempt it with `#[transactional(skip)]`",
        };
        let message = format!(
            "which database `{name}` uses is not known\n\
             help: add a parameter named `db`, or write `db = ..`{exempt}"
        );
        Error::new(name.span(), message)
    });
    let unreachable = [
        without_self(function, options.db.as_ref()),
        without_self(function, on),
    ];
    unknown
        .into_iter()
        .chain(unreachable.into_iter().flatten())
        .collect()
}

pub(crate) fn locked(function: &Function, locked: &Locked) -> Option<Error> {
    let on = locked.lock.on.as_ref();
    if on.is_some() || default_db(&function.sig).is_some() {
        return without_self(function, on);
    }
    let name = &function.sig.ident;
    let message = format!(
        "whose locks `{name}` takes is not known\n\
         help: add a parameter named `db`, or write `on = ..`"
    );
    Some(Error::new(name.span(), message))
}

fn without_self(function: &Function, given: Option<&Given<Expr>>) -> Option<Error> {
    let Given { key, value } = given?;
    if function.sig.receiver().is_some() {
        return None;
    }
    let name = &function.sig.ident;
    let example = if key == "db" { "pool" } else { "*locks" };
    let message = format!(
        "`self` is not available: `{name}` takes no `self`\n\
         help: name an argument, such as `{key} = {example}`"
    );
    find_self(value.to_token_stream()).map(|found| Error::new(found.span(), message))
}
