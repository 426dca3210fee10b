//! Rules about errors that repeat or contradict each other. Where `no_rollback_for` and
//! `rollback_for` both match, the more specific one decides. That a rule changes nothing cannot be
//! seen here: the error's type may have a policy that the rule overrules.

use quote::ToTokens;
use syn::{Error, Pat};

use crate::grammar::{Given, Options};
use crate::pattern::{Relation, relation};

pub(crate) fn all(options: &Options) -> Vec<Error> {
    let keeps = options.no_rollback_for.as_ref();
    let undoes = options.rollback_for.as_ref();
    let mut errors = Vec::new();
    errors.extend(keeps.into_iter().chain(undoes).flat_map(repeated));
    if let (Some(undoes), Some(keeps)) = (undoes, keeps) {
        let ties = undoes
            .value
            .iter()
            .filter_map(|undo| tied(undo, &keeps.value));
        errors.extend(ties);
    }
    errors
}

fn repeated(rules: &Given<Vec<Pat>>) -> Vec<Error> {
    let mut errors = Vec::new();
    for (index, pattern) in rules.value.iter().enumerate() {
        let before = &rules.value[..index];
        let covering = before.iter().find(|other| {
            let relation = relation(pattern, other);
            matches!(relation, Relation::Equal | Relation::Inside)
        });
        if let Some(covering) = covering {
            let message = format!(
                "`{}` is in `{}` already, as `{}`\nhelp: remove it",
                text(pattern),
                rules.key,
                text(covering)
            );
            errors.push(Error::new_spanned(pattern, message));
        }
    }
    errors
}

fn tied(undo: &Pat, keeps: &[Pat]) -> Option<Error> {
    let (keep, relation) = keeps
        .iter()
        .map(|keep| (keep, relation(undo, keep)))
        .find(|(_, relation)| matches!(relation, Relation::Equal | Relation::Crossing))?;
    let (undoes, keeps) = (text(undo), text(keep));
    let message = if relation == Relation::Equal {
        format!(
            "`{undoes}` is to commit by `no_rollback_for` and to roll back by `rollback_for`\n\
             help: remove one of them"
        )
    } else {
        format!(
            "neither `{undoes}` nor `{keeps}` is the more specific, so an error that matches both \
             would have two verdicts\n\
             help: narrow one of them until the other covers it or excludes it"
        )
    };
    Some(Error::new_spanned(undo, message))
}

fn text(pattern: &Pat) -> String {
    pattern.to_token_stream().to_string().replace(" :: ", "::")
}
