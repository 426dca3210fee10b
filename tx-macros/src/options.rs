//! `#[transactional(..)]` to [`Options`]: every value keeps the key that set it, so that a later
//! check can point at the word to change.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Error, Expr, LitStr, Pat, Path, Result, Token};

use crate::suggest;

pub(crate) const PROPAGATIONS: [&str; 8] = [
    "Required",
    "RequiresNew",
    "Isolated",
    "Nested",
    "Mandatory",
    "Supports",
    "NotSupported",
    "Never",
];

pub(crate) const ISOLATIONS: [&str; 4] = [
    "ReadUncommitted",
    "ReadCommitted",
    "RepeatableRead",
    "Serializable",
];

const KEYS: [&str; 6] = [
    "db",
    "propagation",
    "isolation",
    "no_rollback_for",
    "name",
    "crate",
];

/// Words with a meaning to come. Refused by name: a lock that is silently not taken is worse than
/// a program that does not compile.
const NOT_YET: [&str; 7] = [
    "read_only",
    "timeout",
    "retry",
    "rollback_for",
    "rollback_if",
    "lock",
    "skip",
];

/// What the attribute says; `None` where it says nothing.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) db: Option<Given<Expr>>,
    pub(crate) propagation: Option<Given<Path>>,
    pub(crate) isolation: Option<Given<Path>>,
    pub(crate) no_rollback_for: Option<Given<Pat>>,
    pub(crate) name: Option<Given<LitStr>>,
    pub(crate) krate: Option<Given<Path>>,
}

/// A value and the key that set it.
pub(crate) struct Given<T> {
    pub(crate) key: Ident,
    pub(crate) value: T,
}

impl Options {
    /// Reads what can be read; each mistake becomes an error and the next option is read.
    pub(crate) fn parse(args: TokenStream, errors: &mut Vec<Error>) -> Options {
        let mut options = Options::default();
        let parser = |input: ParseStream| {
            while !input.is_empty() {
                if let Err(error) = options.parse_next(input).and_then(|()| separator(input)) {
                    errors.push(error);
                    skip_option(input);
                }
            }
            Ok(())
        };
        // The parser above never fails; this is for tokens that syn itself refuses.
        let parsed = parser.parse2(args);
        errors.extend(parsed.err());
        options
    }

    fn parse_next(&mut self, input: ParseStream) -> Result<()> {
        let key = input.call(Ident::parse_any);
        let key = key.map_err(|error| Error::new(error.span(), expected_option()))?;
        match key.to_string().as_str() {
            "db" => set(&mut self.db, key, input, expression),
            "propagation" => set(&mut self.propagation, key, input, propagation),
            "isolation" => set(&mut self.isolation, key, input, isolation),
            "no_rollback_for" => set(&mut self.no_rollback_for, key, input, pattern),
            "name" => set(&mut self.name, key, input, name),
            "crate" => set(&mut self.krate, key, input, absolute_path),
            word => Err(refused(&key, word)),
        }
    }
}

fn set<T>(
    slot: &mut Option<Given<T>>,
    key: Ident,
    input: ParseStream,
    parse: fn(ParseStream) -> Result<T>,
) -> Result<()> {
    if slot.is_some() {
        let message = format!("`{key}` is set twice\nhelp: keep one of them");
        return Err(Error::new(key.span(), message));
    }
    if input.parse::<Token![=]>().is_err() || at_end(input) {
        return Err(needs_a_value(&key));
    }
    let value = parse(input)?;
    *slot = Some(Given { key, value });
    Ok(())
}

fn expression(input: ParseStream) -> Result<Expr> {
    input.parse()
}

fn propagation(input: ParseStream) -> Result<Path> {
    word_of(input, "propagation", &PROPAGATIONS)
}

fn isolation(input: ParseStream) -> Result<Path> {
    word_of(input, "isolation", &ISOLATIONS)
}

/// A path that ends in one of `known`: `RequiresNew` or `Propagation::RequiresNew`.
fn word_of(input: ParseStream, key: &str, known: &[&str]) -> Result<Path> {
    if let Ok(text) = input.fork().parse::<LitStr>() {
        return Err(quoted_word(&text, key, known));
    }
    let expected = || format!("`{key}` takes one of {}", suggest::list(known));
    let path = input.call(Path::parse_mod_style);
    let path = path.map_err(|error| Error::new(error.span(), expected()))?;
    match path.segments.last() {
        Some(last) if !known.iter().any(|word| last.ident == word) => {
            Err(unknown(&last.ident, key, known))
        }
        _ => Ok(path),
    }
}

fn pattern(input: ParseStream) -> Result<Pat> {
    let pattern = Pat::parse_multi_with_leading_vert(input)?;
    if input.peek(Token![if]) {
        let message = "`no_rollback_for` takes a pattern without an `if` guard\n\
                       help: give the case a variant of its own and name that";
        return Err(input.error(message));
    }
    no_catch_all(&pattern)?;
    Ok(pattern)
}

/// A lone name is a variant only while it is imported; after a rename it is a new variable that
/// matches, and commits, every error.
fn no_catch_all(pattern: &Pat) -> Result<()> {
    match pattern {
        Pat::Or(or) => or.cases.iter().try_for_each(no_catch_all),
        Pat::Paren(paren) => no_catch_all(&paren.pat),
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

fn name(input: ParseStream) -> Result<LitStr> {
    let message = "`name` takes text in quotes\nhelp: write `name = \"assets.add\"`";
    let name: LitStr = input.parse().map_err(|_| input.error(message))?;
    if name.value().is_empty() {
        let message = "`name` is empty\nhelp: leave it out to use the function's path";
        return Err(Error::new(name.span(), message));
    }
    Ok(name)
}

/// A relative path would mean something else in every module.
fn absolute_path(input: ParseStream) -> Result<Path> {
    let message = "`crate` takes an absolute path\n\
                   help: write `::x` for a dependency or `crate::x` for a module of this crate";
    let start = input.fork();
    let refused = |_| start.error(message);
    let path = input.call(Path::parse_mod_style).map_err(refused)?;
    let first = path.segments.first();
    let from_root = first.is_some_and(|first| first.ident == "crate" || first.ident == "$crate");
    if path.leading_colon.is_some() || from_root {
        Ok(path)
    } else {
        Err(start.error(message))
    }
}

fn separator(input: ParseStream) -> Result<()> {
    if !input.is_empty() && input.parse::<Token![,]>().is_err() {
        return Err(input.error("expected `,` between options"));
    }
    Ok(())
}

/// Goes to the start of the next option: behind the next comma, or to a key that lacks one.
fn skip_option(input: ParseStream) {
    while !input.is_empty() && !starts_option(input) {
        if input.parse::<Token![,]>().is_ok() {
            return;
        }
        // Any token can be taken from an input that has one.
        let _ = input.parse::<TokenTree>();
    }
}

fn starts_option(input: ParseStream) -> bool {
    let ahead = input.fork();
    let key = ahead.call(Ident::parse_any);
    let known = key.is_ok_and(|key| KEYS.iter().any(|known| key == known));
    known && ahead.peek(Token![=])
}

fn at_end(input: ParseStream) -> bool {
    input.is_empty() || input.peek(Token![,])
}

fn expected_option() -> String {
    format!("expected an option: {}", suggest::list(&KEYS))
}

fn needs_a_value(key: &Ident) -> Error {
    let value = match key.to_string().as_str() {
        "db" => "self.pool",
        "propagation" => "RequiresNew",
        "isolation" => "Serializable",
        "no_rollback_for" => "Error::Duplicate(_)",
        "name" => "\"assets.add\"",
        _ => "::tx_runtime",
    };
    let message = format!("`{key}` needs a value\nhelp: write `{key} = {value}`");
    Error::new(key.span(), message)
}

fn refused(key: &Ident, word: &str) -> Error {
    if NOT_YET.contains(&word) {
        let message = format!("`{word}` is not available in this version\nhelp: remove it");
        return Error::new(key.span(), message);
    }
    let near = suggest::nearest(word, &KEYS).map(String::from);
    let help = match near.or_else(|| with_key(word)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("expected one of {}", suggest::list(&KEYS)),
    };
    let message = format!("unknown option `{word}`\nhelp: {help}");
    Error::new(key.span(), message)
}

/// The option that a value without a key was meant for, as in `#[transactional(RequiresNew)]`.
fn with_key(word: &str) -> Option<String> {
    let propagation = suggest::nearest(word, &PROPAGATIONS);
    let isolation = suggest::nearest(word, &ISOLATIONS);
    let propagation = propagation.map(|value| format!("propagation = {value}"));
    propagation.or_else(|| isolation.map(|value| format!("isolation = {value}")))
}

fn unknown(word: &Ident, key: &str, known: &[&str]) -> Error {
    let help = match suggest::nearest(&word.to_string(), known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("expected one of {}", suggest::list(known)),
    };
    let message = format!("unknown {key} `{word}`\nhelp: {help}");
    Error::new(word.span(), message)
}

fn quoted_word(text: &LitStr, key: &str, known: &[&str]) -> Error {
    let word = text.value();
    let help = match suggest::nearest(&word, known) {
        Some(near) => format!("write `{key} = {near}`"),
        None => format!("expected one of {}", suggest::list(known)),
    };
    let message = format!("`{key}` is written without quotes\nhelp: {help}");
    Error::new(text.span(), message)
}

#[cfg(test)]
mod tests {
    use quote::{ToTokens, quote};

    use super::*;

    fn messages(args: TokenStream) -> Vec<String> {
        let mut errors = Vec::new();
        Options::parse(args, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_option_is_read() {
        let mut errors = Vec::new();
        let args = quote! {
            db = pick::<A, B>(self), propagation = Propagation::Nested, isolation = Serializable,
            no_rollback_for = | E::A(_) | E::B { c: 1..=2, .. }, name = "x", crate = ::tx,
        };
        let options = Options::parse(args, &mut errors);
        assert!(errors.is_empty());
        assert!(options.db.is_some() && options.propagation.is_some());
        assert!(options.isolation.is_some() && options.name.is_some() && options.krate.is_some());
        let pattern = options.no_rollback_for.map(|given| given.value);
        let expected = quote!(|E::A(_)| E::B { c: 1..=2, .. });
        assert_eq!(pattern.to_token_stream().to_string(), expected.to_string());
    }

    #[test]
    fn all_mistakes_are_reported_in_order() {
        let messages = messages(quote! {
            propogation = Required, name = "a", timeout = "3s", name = "b",
            isolation = snapshot, lock(keys = ["a", "b"], wait = "2s"), db
        });
        let starts = [
            "unknown option `propogation`\nhelp: did you mean `propagation`?",
            "`timeout` is not available in this version",
            "`name` is set twice",
            "unknown isolation `snapshot`\nhelp: expected one of `ReadUncommitted`",
            "`lock` is not available in this version",
            "`db` needs a value\nhelp: write `db = self.pool`",
        ];
        assert_eq!(messages.len(), starts.len(), "{messages:#?}");
        for (message, start) in messages.iter().zip(starts) {
            assert!(message.starts_with(start), "{message}");
        }
    }

    #[test]
    fn a_missing_comma_does_not_hide_the_next_option() {
        let messages = messages(quote!(propagation = Never isolation = Serialisable));
        assert_eq!(messages[0], "expected `,` between options");
        assert!(messages[1].ends_with("did you mean `Serializable`?"));
    }

    #[test]
    fn a_lone_name_is_no_rule() {
        let messages = messages(quote!(no_rollback_for = Error::Unchanged | Duplicate));
        assert!(messages[0].starts_with("`Duplicate` alone may be a new variable"));
        assert!(self::messages(quote!(no_rollback_for = _)).is_empty());
    }
}
