//! The type that a function's future yields, and how it can be written in the body.

use std::borrow::Cow;

use syn::visit_mut::{self, VisitMut};
use syn::{GenericArgument, PathArguments, ReturnType, Signature, Type, parse_quote};

use crate::item::boxed;

/// The return type, except under `#[async_trait]`.
pub(crate) fn output(sig: &Signature) -> Option<&Type> {
    let boxed = boxed::output(sig).filter(|_| sig.asyncness.is_none());
    boxed.or(match &sig.output {
        ReturnType::Type(_, output) => Some(output),
        ReturnType::Default => None,
    })
}

/// The type with `_` for each `impl Trait`.
pub(super) fn writable(output: &Type) -> Cow<'_, Type> {
    without_impl_trait(output).map_or(Cow::Borrowed(output), Cow::Owned)
}

/// Whether the error type can only be known from the body, as in `Result<T, impl Trait>`.
pub(super) fn has_unknown_error(output: &Type) -> bool {
    let Type::Path(output) = output else {
        return false;
    };
    let arguments = output.path.segments.last().map(|last| &last.arguments);
    let Some(PathArguments::AngleBracketed(arguments)) = arguments else {
        return false;
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    let mut error = types.skip(1);
    error.any(|ty| without_impl_trait(ty).is_some())
}

fn without_impl_trait(ty: &Type) -> Option<Type> {
    let mut ty = ty.clone();
    let mut eraser = ImplTraitEraser { found: false };
    eraser.visit_type_mut(&mut ty);
    eraser.found.then_some(ty)
}

struct ImplTraitEraser {
    found: bool,
}

impl VisitMut for ImplTraitEraser {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        if let Type::ImplTrait(_) = ty {
            self.found = true;
            *ty = Type::Infer(parse_quote!(_));
        } else {
            visit_mut::visit_type_mut(self, ty);
        }
    }
}
