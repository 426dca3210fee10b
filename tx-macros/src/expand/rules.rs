//! The rules about a function's results.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;
use quote::quote_spanned;
use syn::Pat;

use super::output::has_impl_trait;
use super::shell::Shell;
use crate::grammar::Options;
use crate::pattern::{Relation, relation};

/// The type is handed over as a value: bounds on a type written by the user are reported at its
/// own span, and the same mistake once more at the call.
pub(super) fn rules(shell: &Shell, options: &Options) -> TokenStream {
    let (krate, output) = (shell.krate(shell.span), shell.output);
    let keeps = options.no_rollback_for.as_ref();
    let keeps = keeps.map(|keeps| {
        let undoes = options.rollback_for.as_ref();
        keeps_error(
            shell,
            &keeps.value,
            undoes.map_or(&[], |undoes| &undoes.value),
        )
    });
    let rollback_if = options.rollback_if.as_ref().map(|given| {
        let predicate = &given.value;
        quote_spanned!(shell.span=> .rollback_if(#predicate))
    });
    if has_impl_trait(output) {
        // `_` would stay unknown in `rules`, which is not told the type of the body.
        return quote_spanned!(shell.span=>
            #krate::__private::Rules::unnamed() #keeps #rollback_if
        );
    }
    quote_spanned!(shell.span=>
        #krate::__private::rules(
            ::core::marker::PhantomData::<#output>,
            |error| #krate::__private::describe!(error),
        )
        #keeps #rollback_if
    )
}

/// A pattern keeps an error from rolling back unless the error matches one of `rollback_for` that
/// is more specific. Patterns with the same exceptions share one test.
fn keeps_error(shell: &Shell, keeps: &[Pat], undoes: &[Pat]) -> TokenStream {
    let mut groups: BTreeMap<Vec<usize>, Vec<&Pat>> = BTreeMap::new();
    for keep in keeps {
        let is_exception = |at: &usize| relation(&undoes[*at], keep) == Relation::Inside;
        let exceptions = (0..undoes.len()).filter(is_exception).collect();
        groups.entry(exceptions).or_default().push(keep);
    }
    let tests = groups.iter().map(|(exceptions, keeps)| {
        let undoes = exceptions.iter().map(|at| &undoes[*at]);
        let keeps = quote_spanned!(shell.span=> ::core::matches!(error, #(#keeps)|*));
        if undoes.len() == 0 {
            return keeps;
        }
        quote_spanned!(shell.span=> #keeps && !::core::matches!(error, #(#undoes)|*))
    });
    quote_spanned!(shell.span=> .no_rollback_for(|error| #(#tests)||*))
}
