//! What can be refused by reading: the function, its return type, and options that fit neither the
//! function nor each other. What only types can tell (an alias that is no `Result`, an error
//! without `From`, a `db` that is no database) is left to the bounds of the runtime.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Error, Path, Type};

use crate::boxed;
use crate::expand::{self, default_db};
use crate::function::Function;
use crate::options::Options;

pub(crate) fn check(function: &Function, options: &Options) -> Vec<Error> {
    [
        async_fn(function),
        written_once(function),
        return_type(function),
        isolation_effect(options),
        db_known(function, options),
        db_without_self(function, options),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn async_fn(function: &Function) -> Option<Error> {
    let sig = &function.sig;
    if let Some(constness) = &sig.constness {
        let message = "`#[transactional]` cannot run in a `const fn`\nhelp: remove `const`";
        return Some(Error::new(constness.span, message));
    }
    if let Some(abi) = &sig.abi {
        let message = "`#[transactional]` cannot be used on an `extern` function\n\
                       help: move the work to an `async fn` and call that";
        return Some(Error::new(abi.extern_token.span, message));
    }
    if sig.asyncness.is_some() {
        return None;
    }
    match boxed::output(sig) {
        Some(_) if boxed::future(&function.body).is_some() => None,
        Some(_) => Some(Error::new(sig.fn_token.span, NOT_PINNED)),
        None if is_test(function) => Some(Error::new(sig.fn_token.span, BELOW_TEST)),
        None => Some(Error::new(sig.fn_token.span, NOT_ASYNC)),
    }
}

const NOT_ASYNC: &str = "`#[transactional]` needs an `async fn`\nhelp: write `async fn`";

const BELOW_TEST: &str = "`async` has already been removed by a test attribute\n\
                          help: put `#[transactional]` above `#[tokio::test]`";

const NOT_PINNED: &str = "the body of this function is not one `Box::pin(async move { .. })`\n\
                          help: write `async fn`, or put `#[transactional]` above the other attributes";

fn is_test(function: &Function) -> bool {
    function
        .attrs
        .iter()
        .any(|attr| ends_in(attr.path(), "test"))
}

fn written_once(function: &Function) -> Option<Error> {
    let mut attrs = function.attrs.iter();
    let second = attrs.find(|attr| ends_in(attr.path(), "transactional"))?;
    let message = "this function is already `#[transactional]`\n\
                   help: merge the options into one attribute";
    Some(Error::new_spanned(second.path(), message))
}

fn ends_in(path: &Path, name: &str) -> bool {
    path.segments.last().is_some_and(|last| last.ident == name)
}

fn return_type(function: &Function) -> Option<Error> {
    let sig = &function.sig;
    let Some(ty) = expand::output(sig) else {
        return Some(no_return_type(&sig.ident));
    };
    // `#[async_trait]` writes the type that was left out, at a place of its own.
    if sig.asyncness.is_none() && is_unit(ty) {
        return Some(no_return_type(&sig.ident));
    }
    // `-> impl Future` is a function that lacks `async`, and is told so.
    let is_future = sig.asyncness.is_none() && matches!(ty, Type::ImplTrait(_));
    let spelling = certainly_no_result(ty).filter(|_| !is_future)?;
    let message = format!("cannot tell commit from rollback in `{spelling}`\n{RETURN_RESULT}");
    Some(Error::new(ty.span(), message))
}

const RETURN_RESULT: &str = "help: return `Result<T, E>`: `Ok` commits, `Err` rolls back";

fn no_return_type(name: &Ident) -> Error {
    let message = format!("`#[transactional]` needs a return type\n{RETURN_RESULT}");
    Error::new(name.span(), message)
}

fn is_unit(ty: &Type) -> bool {
    matches!(ty, Type::Tuple(tuple) if tuple.elems.is_empty())
}

/// Only spellings that cannot be a `Result`; an alias may be one.
fn certainly_no_result(ty: &Type) -> Option<&'static str> {
    match ty {
        Type::Group(group) => certainly_no_result(&group.elem),
        Type::Paren(paren) => certainly_no_result(&paren.elem),
        Type::Tuple(_) if is_unit(ty) => Some("()"),
        Type::Tuple(_) => Some("(..)"),
        Type::Never(_) => Some("!"),
        Type::ImplTrait(_) => Some("impl Trait"),
        Type::Path(path) if ends_in(&path.path, "Option") => Some("Option"),
        _ => None,
    }
}

fn isolation_effect(options: &Options) -> Option<Error> {
    let isolation = options.isolation.as_ref()?;
    let propagation = &options.propagation.as_ref()?.value.segments.last()?.ident;
    let (reason, remedy) = match propagation.to_string().as_str() {
        "Nested" => ("opens a savepoint inside the outer transaction", BEGIN_OWN),
        "Mandatory" => ("joins the caller's transaction", BEGIN_OWN),
        "Supports" => ("never begins a transaction", BEGIN),
        "NotSupported" | "Never" => ("runs without a transaction", BEGIN),
        _ => return None,
    };
    let message = format!(
        "`isolation` has no effect here: `propagation = {propagation}` {reason}\n\
         help: remove `isolation`, or use {remedy}"
    );
    Some(Error::new(isolation.key.span(), message))
}

const BEGIN: &str = "`propagation = Required`";
const BEGIN_OWN: &str = "`propagation = RequiresNew`";

fn db_known(function: &Function, options: &Options) -> Option<Error> {
    if options.db.is_some() || default_db(&function.sig).is_some() {
        return None;
    }
    let name = &function.sig.ident;
    let message = format!(
        "which database `{name}` uses is not known\n\
         help: add a parameter named `db`, or write `db = ..`"
    );
    Some(Error::new(name.span(), message))
}

fn db_without_self(function: &Function, options: &Options) -> Option<Error> {
    let db = options.db.as_ref()?;
    if function.sig.receiver().is_some() {
        return None;
    }
    let name = &function.sig.ident;
    let message = format!(
        "`self` is not available: `{name}` takes no `self`\n\
         help: name an argument, such as `db = pool`"
    );
    find_self(db.value.to_token_stream()).map(|found| Error::new(found.span(), message))
}

fn find_self(tokens: TokenStream) -> Option<Ident> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if ident == "self" => Some(ident),
        TokenTree::Group(group) => find_self(group.stream()),
        _ => None,
    })
}
