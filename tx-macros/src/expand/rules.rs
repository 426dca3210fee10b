//! The rules about a function's results.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;
use quote::quote_spanned;
use syn::Pat;

use super::output::{has_unknown_error, writable};
use super::shell::Shell;
use crate::grammar::Options;
use crate::pattern::{Relation, relation};

pub(super) fn rules(shell: &Shell, options: &Options) -> TokenStream {
    let rules = known(shell);
    let keeps = options.no_rollback_for.as_ref();
    let keeps: &[Pat] = keeps.map_or(&[], |given| &given.value);
    let undoes = options.rollback_for.as_ref();
    let undoes: &[Pat] = undoes.map_or(&[], |given| &given.value);
    let keep = (!keeps.is_empty()).then(|| {
        quote_spanned!(shell.span=> .no_rollback_for(|error| ::core::matches!(error, #(#keeps)|*)))
    });
    let undo = (!undoes.is_empty()).then(|| undo(shell, undoes, keeps));
    let rollback_if = options.rollback_if.as_ref().map(|given| {
        let predicate = &given.value;
        quote_spanned!(shell.span=> .rollback_if(#predicate))
    });
    quote_spanned!(shell.span=> #rules #keep #undo #rollback_if)
}

/// What the type of the result tells by itself.
pub(super) fn known(shell: &Shell) -> TokenStream {
    let krate = shell.krate(shell.span);
    if has_unknown_error(shell.output) {
        return quote_spanned!(shell.span=> #krate::Rules::unnamed());
    }
    let output = writable(shell.output);
    quote_spanned!(shell.span=> #krate::__private::known(::core::marker::PhantomData::<#output>).rules())
}

/// At run time `rollback_for` decides before `no_rollback_for`, so its patterns leave out what a
/// more specific one of the other matches. Patterns that leave out the same share one test.
fn undo(shell: &Shell, undoes: &[Pat], keeps: &[Pat]) -> TokenStream {
    let mut groups: BTreeMap<Vec<usize>, Vec<&Pat>> = BTreeMap::new();
    for undo in undoes {
        let more_specific = |at: &usize| relation(&keeps[*at], undo) == Relation::Inside;
        let exceptions = (0..keeps.len()).filter(more_specific).collect();
        groups.entry(exceptions).or_default().push(undo);
    }
    let tests = groups.iter().map(|(exceptions, undoes)| {
        let undoes = quote_spanned!(shell.span=> ::core::matches!(error, #(#undoes)|*));
        if exceptions.is_empty() {
            return undoes;
        }
        let keeps = exceptions.iter().map(|at| &keeps[*at]);
        quote_spanned!(shell.span=> #undoes && !::core::matches!(error, #(#keeps)|*))
    });
    quote_spanned!(shell.span=> .rollback_for(|error| #(#tests)||*))
}
