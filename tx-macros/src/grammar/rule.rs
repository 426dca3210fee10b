//! The rules about results: `no_rollback_for` and `rollback_for` take patterns of the error,
//! `rollback_if` a closure over the value.

use proc_macro2::Ident;
use syn::parse::ParseStream;
use syn::{Error, Expr, Pat, Result, Token, token};

/// A pattern of errors, as its alternatives.
pub(crate) fn patterns(key: &Ident, input: ParseStream) -> Result<Vec<Pat>> {
    if is_closure(input) {
        let message = format!(
            "`{key}` takes a pattern, not a closure\n\
             help: write the errors themselves, such as `Error::Duplicate(_)`"
        );
        return Err(input.error(message));
    }
    if input.peek(token::Bracket) {
        let message = format!(
            "`{key}` takes a pattern, not a list\n\
             help: write `|` between the errors, without brackets"
        );
        return Err(input.error(message));
    }
    let pattern = Pat::parse_multi_with_leading_vert(input)?;
    if input.peek(Token![if]) {
        let message = format!(
            "`{key}` takes a pattern without an `if` guard\n\
             help: give the case a variant of its own and name that"
        );
        return Err(input.error(message));
    }
    let alternatives = alternatives(pattern);
    alternatives.iter().try_for_each(no_catch_all)?;
    Ok(alternatives)
}

/// A `|` in front of a pattern is followed by more than a name.
fn is_closure(input: ParseStream) -> bool {
    let ahead = input.fork();
    let parameter = ahead
        .parse::<Token![|]>()
        .and_then(|_| Pat::parse_single(&ahead));
    matches!(parameter, Ok(Pat::Ident(_) | Pat::Wild(_)))
        && (ahead.peek(Token![|]) || ahead.peek(Token![:]))
}

fn alternatives(pattern: Pat) -> Vec<Pat> {
    match pattern {
        Pat::Or(or) => or.cases.into_iter().flat_map(alternatives).collect(),
        Pat::Paren(paren) => alternatives(*paren.pat),
        other => vec![other],
    }
}

/// A lone name is a variant only while it is imported; after a rename it is a new variable that
/// matches, and commits, every error.
fn no_catch_all(pattern: &Pat) -> Result<()> {
    match pattern {
        Pat::Ident(name) if name.subpat.is_none() => {
            let name = &name.ident;
            let message = format!(
                "`{name}` alone may be a new variable, which matches every error\n\
                 help: write its path, such as `Error::{name}`, or `_` for every error"
            );
            Err(Error::new(name.span(), message))
        }
        _ => Ok(()),
    }
}

const PREDICATE: &str = "`rollback_if` takes a closure over the value of `Ok`\n\
                         help: write `rollback_if = |value| value.is_empty()`";

/// A closure of one parameter, or the path of a function.
pub(crate) fn predicate(input: ParseStream) -> Result<Expr> {
    let start = input.fork();
    let expr: Expr = input.parse()?;
    match &expr {
        Expr::Closure(closure) if closure.inputs.len() == 1 => Ok(expr),
        Expr::Path(_) => Ok(expr),
        _ => Err(start.error(PREDICATE)),
    }
}
