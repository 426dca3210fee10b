//! The shape that `#[async_trait]` leaves behind. It rewrites a method before the attributes on
//! the method are expanded, so `#[transactional]` finds no `async fn`:
//!
//! ```text
//! fn add<'a>(&'a self) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>> {
//!     Box::pin(async move { .. })
//! }
//! ```

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::{
    AngleBracketedGenericArguments, GenericArgument, PathArguments, PathSegment, ReturnType,
    Signature, Type, TypeParamBound,
};

/// The `T` of `Pin<Box<dyn Future<Output = T> + ..>>`.
pub(crate) fn output(sig: &Signature) -> Option<&Type> {
    let ReturnType::Type(_, ty) = &sig.output else {
        return None;
    };
    let Type::TraitObject(object) = content(content(ty, "Pin")?, "Box")? else {
        return None;
    };
    object.bounds.iter().find_map(future_output)
}

/// The `future` of a body that is just `Box::pin(future)`.
pub(crate) fn future(body: &TokenStream) -> Option<TokenStream> {
    pinned(body).map(|(_, future)| future.stream())
}

/// The body with another future in its `Box::pin(..)`.
pub(crate) fn replace_future(body: &TokenStream, future: TokenStream) -> TokenStream {
    let Some((path, old)) = pinned(body) else {
        return future;
    };
    let mut new = Group::new(Delimiter::Parenthesis, future);
    new.set_span(old.span());
    path.into_iter().chain([TokenTree::Group(new)]).collect()
}

fn pinned(body: &TokenStream) -> Option<(Vec<TokenTree>, Group)> {
    let mut path: Vec<_> = body.clone().into_iter().collect();
    let Some(TokenTree::Group(future)) = path.pop() else {
        return None;
    };
    let is_path = |token: &TokenTree| match token {
        TokenTree::Ident(_) => true,
        TokenTree::Punct(punct) => punct.as_char() == ':',
        _ => false,
    };
    let ends_in_pin = matches!(path.last(), Some(TokenTree::Ident(last)) if last == "pin");
    let parenthesized = future.delimiter() == Delimiter::Parenthesis;
    (parenthesized && ends_in_pin && path.iter().all(is_path)).then_some((path, future))
}

/// The `T` of `name<T>`, whatever path leads to `name`.
fn content<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(ty) = ty else {
        return None;
    };
    arguments(ty.path.segments.last()?, name)?
        .args
        .iter()
        .find_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        })
}

fn future_output(bound: &TypeParamBound) -> Option<&Type> {
    let TypeParamBound::Trait(bound) = bound else {
        return None;
    };
    arguments(bound.path.segments.last()?, "Future")?
        .args
        .iter()
        .find_map(|argument| match argument {
            GenericArgument::AssocType(assoc) if assoc.ident == "Output" => Some(&assoc.ty),
            _ => None,
        })
}

fn arguments<'a>(
    segment: &'a PathSegment,
    name: &str,
) -> Option<&'a AngleBracketedGenericArguments> {
    match &segment.arguments {
        PathArguments::AngleBracketed(arguments) if segment.ident == name => Some(arguments),
        _ => None,
    }
}
