//! The names that a function's arguments have in its body.

use proc_macro2::Ident;
use syn::ext::IdentExt;
use syn::visit_mut::{self, VisitMut};
use syn::{FnArg, Pat, PatIdent, PatType, Signature, Type};

pub(crate) struct Arguments {
    receiver: Option<Ident>,
    names: Vec<Ident>,
}

impl Arguments {
    pub(crate) fn of(sig: &Signature) -> Self {
        let receiver = sig.receiver().map(|receiver| {
            let span = receiver.self_token.span;
            Ident::new("self", span)
        });
        let names = typed(sig).flat_map(|argument| bindings(&argument.pat));
        Arguments {
            receiver,
            names: names.map(|binding| binding.ident).collect(),
        }
    }

    /// The argument as the signature writes it, so that it is found whatever the hygiene of the
    /// place that names it.
    pub(crate) fn find(&self, name: &str) -> Option<&Ident> {
        let mut all = self.receiver.iter().chain(&self.names);
        all.find(|argument| argument.unraw() == name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.names.iter().map(|name| name.unraw().to_string());
        names.collect()
    }
}

/// The arguments that are handed over by value: a reference can be used again.
pub(crate) fn by_value(sig: &Signature) -> Vec<PatIdent> {
    let by_value = typed(sig).filter(|argument| !matches!(*argument.ty, Type::Reference(_)));
    by_value
        .flat_map(|argument| bindings(&argument.pat))
        .filter(|binding| binding.by_ref.is_none())
        .collect()
}

fn typed(sig: &Signature) -> impl Iterator<Item = &PatType> {
    sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(argument),
        FnArg::Receiver(_) => None,
    })
}

fn bindings(pattern: &Pat) -> Vec<PatIdent> {
    let mut found = Bindings(Vec::new());
    found.visit_pat_mut(&mut pattern.clone());
    found.0
}

struct Bindings(Vec<PatIdent>);

impl VisitMut for Bindings {
    fn visit_pat_ident_mut(&mut self, binding: &mut PatIdent) {
        self.0.push(binding.clone());
        visit_mut::visit_pat_ident_mut(self, binding);
    }
}
