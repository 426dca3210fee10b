//! Work that is started in the body and goes on without its scope.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::Error;

use crate::grammar::{Exception, Given};
use crate::item::{Attr, Function};

/// Whose `spawn` starts a task or a thread.
const SPAWNERS: [&str; 3] = ["tokio", "task", "thread"];

pub(crate) fn unasked(
    function: &Function,
    attr: Attr,
    allow: Option<&Given<Exception>>,
) -> Option<Error> {
    if allow.is_some_and(|allow| allow.value.spawn.is_some()) {
        return None;
    }
    let (at, spawn) = find(&function.body)?;
    let consequence = match attr {
        Attr::Transactional => {
            "is not part of this transaction: its statements run outside of it, \
             and a rollback does not stop it"
        }
        Attr::Locked => "does not hold this lock, which may open while it still runs",
    };
    let message = format!(
        "what `{spawn}` starts {consequence}\n\
         help: await the work here or start it in the caller; if it is meant to be so, \
         write `allow(spawn)`"
    );
    Some(Error::new(at, message))
}

/// The first call that starts a task or a thread, as it is written. The body is not parsed, so this
/// goes by names.
fn find(body: &TokenStream) -> Option<(Span, String)> {
    let tokens: Vec<_> = body.clone().into_iter().collect();
    (0..tokens.len()).find_map(|at| match &tokens[at] {
        TokenTree::Ident(name) => Some((name.span(), starts_work(&tokens, at)?)),
        TokenTree::Group(group) => find(&group.stream()),
        _ => None,
    })
}

fn starts_work(tokens: &[TokenTree], at: usize) -> Option<String> {
    let name = &tokens[at];
    let owner = (at >= 3 && is_punct(tokens, at - 1) && is_punct(tokens, at - 2))
        .then(|| &tokens[at - 3])
        .filter(|owner| is_word(owner, &SPAWNERS));
    if let Some(owner) = owner
        && is_word(name, &["spawn"])
    {
        return Some(format!("{owner}::spawn"));
    }
    let called = matches!(
        tokens.get(at + 1),
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis
    );
    let defined = at > 0 && is_word(&tokens[at - 1], &["fn"]);
    let starts = called && !defined && is_word(name, &["spawn_blocking", "spawn_local"]);
    starts.then(|| name.to_string())
}

fn is_punct(tokens: &[TokenTree], at: usize) -> bool {
    matches!(&tokens[at], TokenTree::Punct(colon) if colon.as_char() == ':')
}

fn is_word(token: &TokenTree, words: &[&str]) -> bool {
    matches!(token, TokenTree::Ident(ident) if words.iter().any(|word| ident == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(body: &str) -> bool {
        find(&body.parse().expect("tokens")).is_some()
    }

    #[test]
    fn tasks_and_threads_are_found_wherever_they_start() {
        assert!(finds("tokio::spawn(async {})"));
        assert!(finds("if x { tokio::task::spawn_blocking(|| 1).await }"));
        assert!(finds("std::thread::spawn(move || {});"));
        assert!(finds(
            "use tokio::task::spawn_blocking; spawn_blocking(work)"
        ));
        assert!(finds("jobs.into_iter().map(tokio::spawn)"));
        assert!(finds("handle.spawn_blocking(work)"));
    }

    #[test]
    fn other_things_of_that_name_are_left_alone() {
        assert!(!finds("Command::new(\"ls\").spawn()?"));
        assert!(!finds("self.spawn(monster)"));
        assert!(!finds("Monster::spawn(at)"));
        assert!(!finds("fn spawn_blocking() {}"));
        assert!(!finds("\"tokio::spawn(x)\""));
        assert!(!finds("spawn"));
    }
}
