//! Whether the function has the shape that an attribute can wrap.

use proc_macro2::Ident;
use syn::spanned::Spanned;
use syn::{Attribute, Error, GenericArgument, PathArguments, PathSegment, Type, TypeParamBound};

use super::Place;
use crate::expand::output;
use crate::item::{Attr, Function, boxed, ends_in};

pub(crate) fn all(function: &Function, attr: Attr, place: Place) -> Vec<Error> {
    let found = [
        async_fn(function, attr),
        decorated_once(function, attr),
        return_type(function, attr, place),
    ];
    found.into_iter().flatten().collect()
}

fn async_fn(function: &Function, attr: Attr) -> Option<Error> {
    let sig = &function.sig;
    if let Some(constness) = &sig.constness {
        let message = format!("{attr} cannot run in a `const fn`\nhelp: remove `const`");
        return Some(Error::new(constness.span, message));
    }
    if let Some(abi) = &sig.abi {
        let message = format!(
            "{attr} cannot be used on an `extern` function\n\
             help: move the work to an `async fn` and call that"
        );
        return Some(Error::new(abi.extern_token.span, message));
    }
    if function.is_async() {
        return None;
    }
    let is_test = |attr: &Attribute| ends_in(attr.path(), "test");
    let message = if boxed::output(sig).is_some() {
        format!(
            "the body of this function is not one `Box::pin(async move {{ .. }})`\n\
             help: write `async fn`, or put {attr} above the other attributes"
        )
    } else if sig.ident == "main" || function.attrs.iter().any(is_test) {
        format!(
            "{attr} needs an `async fn`, and the attribute above has made another function of it\n\
             help: put {attr} above the others"
        )
    } else {
        format!("{attr} needs an `async fn`\nhelp: write `async fn`")
    };
    Some(Error::new(sig.fn_token.span, message))
}

fn decorated_once(function: &Function, attr: Attr) -> Option<Error> {
    if let Some(second) = function.under(attr) {
        let message =
            format!("this function is already {attr}\nhelp: merge the two into one attribute");
        return Some(Error::new_spanned(second.path(), message));
    }
    let other = match attr {
        Attr::Transactional => Attr::Locked,
        Attr::Locked => Attr::Transactional,
    };
    let other = function.under(other)?;
    let message = "`#[locked]` is for functions that are not transactional\n\
                   help: write the lock as `#[transactional(lock = \"..\")]`, which takes it before \
                   the transaction begins and opens it after the commit";
    Some(Error::new_spanned(other.path(), message))
}

fn return_type(function: &Function, attr: Attr, place: Place) -> Option<Error> {
    let sig = &function.sig;
    let help = help(attr, place);
    let Some(ty) = output(sig) else {
        return Some(no_return_type(&sig.ident, attr, &help));
    };
    // `#[async_trait]` writes the type that was left out, at a place of its own.
    if sig.asyncness.is_none() && is_unit(ty) {
        return Some(no_return_type(&sig.ident, attr, &help));
    }
    // `-> impl Future` is a function that lacks `async`, and is told so.
    let is_future = sig.asyncness.is_none() && matches!(ty, Type::ImplTrait(_));
    if let Some(spelling) = certainly_no_result(ty).filter(|_| !is_future) {
        let problem = match attr {
            Attr::Transactional => "cannot tell commit from rollback in",
            Attr::Locked => "cannot report a lock that was not had in",
        };
        return Some(Error::new(
            ty.span(),
            format!("{problem} `{spelling}`\n{help}"),
        ));
    }
    outlives(ty, attr)
}

fn help(attr: Attr, place: Place) -> String {
    let result = match attr {
        Attr::Transactional => "help: return `Result<T, E>`: `Ok` commits, `Err` rolls back",
        Attr::Locked => "help: return `Result<T, E>` with `E: From<tx_runtime::Error>`",
    };
    match place {
        Place::Function => result.to_owned(),
        Place::ImplBlock => format!("{result}; or exempt the method with `#[transactional(skip)]`"),
    }
}

fn no_return_type(name: &Ident, attr: Attr, help: &str) -> Error {
    Error::new(name.span(), format!("{attr} needs a return type\n{help}"))
}

fn is_unit(ty: &Type) -> bool {
    matches!(ty, Type::Tuple(tuple) if tuple.elems.is_empty())
}

/// Types by names that nobody gives to a `Result`.
const NO_RESULTS: [&str; 16] = [
    "Option", "String", "Vec", "bool", "char", "i8", "i16", "i32", "i64", "u8", "u16", "u32",
    "u64", "usize", "f32", "f64",
];

/// Only spellings that cannot be a `Result`; an alias may be one.
fn certainly_no_result(ty: &Type) -> Option<&'static str> {
    match ty {
        Type::Group(group) => certainly_no_result(&group.elem),
        Type::Paren(paren) => certainly_no_result(&paren.elem),
        Type::Tuple(_) if is_unit(ty) => Some("()"),
        Type::Tuple(_) => Some("(..)"),
        Type::Never(_) => Some("!"),
        Type::ImplTrait(_) => Some("impl Trait"),
        Type::Reference(_) => Some("&_"),
        Type::Path(path) => NO_RESULTS
            .into_iter()
            .find(|name| ends_in(&path.path, name)),
        _ => None,
    }
}

/// `Result<impl Stream, _>`: rows that are fetched only when they are read.
fn outlives(ty: &Type, attr: Attr) -> Option<Error> {
    let ok = first_argument(last_segment(ty)?)?;
    if !is_stream(ok) {
        return None;
    }
    let end = match attr {
        Attr::Transactional => "the transaction has ended",
        Attr::Locked => "the lock has opened",
    };
    let message = format!(
        "this stream is read after {end}\n\
         help: read it in the function, and return a collection such as `Vec`"
    );
    Some(Error::new(ok.span(), message))
}

fn is_stream(ty: &Type) -> bool {
    let bounds = match ty {
        Type::ImplTrait(ty) => &ty.bounds,
        Type::TraitObject(ty) => &ty.bounds,
        _ => return last_segment(ty).is_some_and(is_stream_type),
    };
    bounds.iter().any(|bound| match bound {
        TypeParamBound::Trait(bound) => ends_in(&bound.path, "Stream"),
        _ => false,
    })
}

fn is_stream_type(segment: &PathSegment) -> bool {
    match segment.ident.to_string().as_str() {
        "BoxStream" | "LocalBoxStream" => true,
        "Pin" | "Box" => first_argument(segment).is_some_and(is_stream),
        _ => false,
    }
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(ty) => ty.path.segments.last(),
        _ => None,
    }
}

fn first_argument(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}
