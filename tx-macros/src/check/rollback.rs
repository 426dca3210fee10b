//! Rules about errors that repeat or contradict each other. Every error rolls back, those of
//! `no_rollback_for` commit, and those of `rollback_for` are exceptions to these; where both match,
//! the more specific one decides.

use quote::ToTokens;
use syn::{Error, Pat};

use crate::grammar::{Given, Options};
use crate::pattern::{Relation, relation};

pub(crate) fn all(options: &Options) -> Vec<Error> {
    let keeps = options.no_rollback_for.as_ref();
    let undoes = options.rollback_for.as_ref();
    let mut errors = Vec::new();
    errors.extend(keeps.into_iter().chain(undoes).flat_map(repeated));
    errors.extend(
        undoes
            .into_iter()
            .flat_map(|undoes| unneeded(undoes, keeps)),
    );
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

fn unneeded(undoes: &Given<Vec<Pat>>, keeps: Option<&Given<Vec<Pat>>>) -> Vec<Error> {
    let Some(keeps) = keeps else {
        let message = "`rollback_for` has no effect without `no_rollback_for`: \
                       every error rolls back\n\
                       help: remove `rollback_for`";
        return vec![Error::new(undoes.key.span(), message)];
    };
    let errors = undoes.value.iter().filter_map(|undo| {
        let message = conflict(undo, &keeps.value)?;
        Some(Error::new_spanned(undo, message))
    });
    errors.collect()
}

fn conflict(undo: &Pat, keeps: &[Pat]) -> Option<String> {
    let relations = keeps.iter().map(|keep| (keep, relation(undo, keep)));
    let tie = relations
        .clone()
        .find(|(_, relation)| matches!(relation, Relation::Equal | Relation::Crossing));
    if let Some((keep, relation)) = tie {
        let (undo, keep) = (text(undo), text(keep));
        return Some(if relation == Relation::Equal {
            format!(
                "`{undo}` is to commit by `no_rollback_for` and to roll back by `rollback_for`\n\
                 help: remove one of them"
            )
        } else {
            format!(
                "neither `{undo}` nor `{keep}` is the more specific, so an error that matches \
                 both would have two verdicts\n\
                 help: narrow one of them until the other covers it or excludes it"
            )
        });
    }
    let apart = relations
        .map(|(_, relation)| relation)
        .all(|it| it == Relation::Apart);
    apart.then(|| {
        format!(
            "`{}` has no effect here: it rolls back anyway, since no pattern of \
             `no_rollback_for` covers it\n\
             help: remove it",
            text(undo)
        )
    })
}

fn text(pattern: &Pat) -> String {
    pattern.to_token_stream().to_string()
}
