//! What `#[transactional(..)]` says.

use proc_macro2::Ident;
use syn::parse::ParseStream;
use syn::{Error, Expr, LitStr, Pat, Path, Result};

use super::duration::limit;
use super::history::{self, History};
use super::list::{Given, Keyed, set, set_flag, set_list};
use super::lock::{Lock, lock};
use super::retry::{self, Retry};
use super::rule::{patterns, predicate};
use super::word::{Isolation, Propagation, Word, with_key, word};

/// The options of one attribute; `None` where it says nothing.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) db: Option<Given<Expr>>,
    pub(crate) propagation: Option<Given<Word<Propagation>>>,
    pub(crate) isolation: Option<Given<Word<Isolation>>>,
    pub(crate) read_only: Option<Given<()>>,
    /// In milliseconds, as all durations; `None` for no limit.
    pub(crate) timeout: Option<Given<Option<u64>>>,
    pub(crate) retry: Option<Given<Retry>>,
    pub(crate) no_rollback_for: Option<Given<Vec<Pat>>>,
    pub(crate) rollback_for: Option<Given<Vec<Pat>>>,
    pub(crate) rollback_if: Option<Given<Expr>>,
    pub(crate) lock: Option<Given<Lock>>,
    pub(crate) history: Option<Given<History>>,
    pub(crate) allow: Option<Given<Exception>>,
    pub(crate) name: Option<Given<LitStr>>,
    pub(crate) krate: Option<Given<Path>>,
}

impl Keyed for Options {
    const KEYS: &'static [&'static str] = &[
        "db",
        "propagation",
        "isolation",
        "read_only",
        "timeout",
        "retry",
        "no_rollback_for",
        "rollback_for",
        "rollback_if",
        "lock",
        "history",
        "allow",
        "name",
        "crate",
    ];
    const OWNER: &'static str = "";

    fn option(&mut self, key: Ident, input: ParseStream, errors: &mut Vec<Error>) -> Result<()> {
        let name = key.clone();
        match key.to_string().as_str() {
            "db" => set(&mut self.db, key, input, "self.pool", expression),
            "propagation" => set(&mut self.propagation, key, input, "RequiresNew", word),
            "isolation" => set(&mut self.isolation, key, input, "Serializable", word),
            "read_only" => set_flag(&mut self.read_only, key, input),
            "timeout" => set(&mut self.timeout, key, input, "\"3s\"", |input| {
                limit(&name, input, "write `\"none\"` to wait without limit")
            }),
            "retry" => set_list(&mut self.retry, key, input, retry::EXAMPLE, errors),
            "no_rollback_for" => set(
                &mut self.no_rollback_for,
                key,
                input,
                "Error::Duplicate(_)",
                |input| patterns(&name, input),
            ),
            "rollback_for" => set(
                &mut self.rollback_for,
                key,
                input,
                "Error::Fatal(_)",
                |input| patterns(&name, input),
            ),
            "rollback_if" => set(
                &mut self.rollback_if,
                key,
                input,
                "|value| value.is_empty()",
                predicate,
            ),
            "lock" => lock(&mut self.lock, key, input, errors),
            "history" => set_list(&mut self.history, key, input, history::EXAMPLE, errors),
            "allow" => set_list(&mut self.allow, key, input, "allow(spawn)", errors),
            "name" => set(&mut self.name, key, input, "\"assets.add\"", text),
            _ => set(&mut self.krate, key, input, "::tx_runtime", absolute_path),
        }
    }

    /// A value without its key, as in `#[transactional(RequiresNew)]`, or a word from elsewhere.
    fn meant(word: &str) -> Option<String> {
        let elsewhere = match word {
            "manager" | "transaction_manager" | "pool" | "datasource" | "connection" => "db",
            "mode" => "propagation",
            "level" | "isolation_level" => "isolation",
            "retries" | "max_retries" | "attempts" | "backoff" => "retry(attempts = 5)",
            "no_rollback_on" | "dont_rollback_on" => "no_rollback_for",
            "rollback_on" => "rollback_for",
            "locked" | "key" | "keys" => "lock",
            "wait" => "lock(key = \"..\", wait = \"2s\")",
            "timeout_ms" | "deadline" => "timeout",
            "label" | "value" => "name",
            "audit" | "audited" | "actor" | "reason" => history::EXAMPLE,
            "savepoint" => "propagation = Nested",
            _ => return with_key::<Propagation>(word).or_else(|| with_key::<Isolation>(word)),
        };
        Some(elsewhere.to_owned())
    }
}

impl Options {
    pub(crate) fn propagation(&self) -> Propagation {
        let given = self.propagation.as_ref();
        given.map_or(Propagation::Required, |given| given.value.meaning)
    }
}

/// `allow(spawn)`: what is otherwise taken for a mistake.
#[derive(Default)]
pub(crate) struct Exception {
    pub(crate) spawn: Option<Given<()>>,
}

impl Keyed for Exception {
    const KEYS: &'static [&'static str] = &["spawn"];
    const OWNER: &'static str = "`allow` ";

    fn option(&mut self, key: Ident, input: ParseStream, _: &mut Vec<Error>) -> Result<()> {
        set_flag(&mut self.spawn, key, input)
    }

    fn missing(&self, owner: &Ident) -> Option<Error> {
        let message = "`allow` does not say what\nhelp: write `allow(spawn)`, or remove it";
        self.spawn
            .is_none()
            .then(|| Error::new(owner.span(), message))
    }
}

/// `#[transactional(skip)]`: a method that its impl block's attribute leaves alone.
pub(crate) struct Skip;

impl Skip {
    pub(crate) fn parse(input: ParseStream) -> Result<Skip> {
        mod keyword {
            syn::custom_keyword!(skip);
        }
        input.parse::<keyword::skip>()?;
        input.parse::<Option<syn::Token![,]>>()?;
        Ok(Skip)
    }
}

pub(crate) fn expression(input: ParseStream) -> Result<Expr> {
    input.parse()
}

fn text(input: ParseStream) -> Result<LitStr> {
    let message = "`name` takes text in quotes\nhelp: write `name = \"assets.add\"`";
    let start = input.fork();
    let name: LitStr = input.parse().map_err(|_| start.error(message))?;
    if name.value().is_empty() {
        let message = "`name` is empty\nhelp: leave it out to use the function's path";
        return Err(Error::new(name.span(), message));
    }
    Ok(name)
}

/// A relative path would mean something else in every module.
pub(crate) fn absolute_path(input: ParseStream) -> Result<Path> {
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

#[cfg(test)]
mod tests {
    use proc_macro2::TokenStream;
    use quote::{ToTokens, quote};

    use super::super::list::parse;
    use super::*;

    fn messages(args: TokenStream) -> Vec<String> {
        let mut errors = Vec::new();
        parse::<Options>("transactional", args, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_option_is_read() {
        let mut errors = Vec::new();
        let args = quote! {
            db = pick::<A, B>(self), propagation = Propagation::Nested, isolation = Serializable,
            read_only, timeout = "3s", retry(attempts = 5, backoff = "10ms..1s", idempotent),
            no_rollback_for = | E::A(_) | (E::B { c: 1..=2, .. } | E::C), rollback_for = E::A(1),
            rollback_if = |value: &Vec<_>| value.is_empty(),
            lock(keys = ["a:{from}", "a:{to}"], wait = "2s", on = self.locks),
            history(actor = user.id, reason = "x"), allow(spawn), name = "x", crate = ::tx,
        };
        let options: Options = parse("transactional", args, &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
        assert!(options.db.is_some() && options.isolation.is_some());
        assert!(options.propagation() == Propagation::Nested);
        assert!(options.read_only.is_some() && options.rollback_if.is_some());
        assert_eq!(options.timeout.map(|given| given.value), Some(Some(3_000)));
        let retry = options.retry.expect("a retry").value;
        assert_eq!(retry.attempts.map(|given| given.value), Some(5));
        assert_eq!(retry.backoff.map(|given| given.value), Some((10, 1_000)));
        assert!(retry.idempotent.is_some());
        let keeps = options.no_rollback_for.expect("rules").value;
        let keeps = quote!(#(#keeps),*).to_string();
        assert_eq!(
            keeps,
            quote!(E::A(_), E::B { c: 1..=2, .. }, E::C).to_string()
        );
        let undoes = options.rollback_for.map(|given| given.value.len());
        assert_eq!(undoes, Some(1));
        let lock = options.lock.expect("a lock").value;
        assert_eq!(lock.templates().count(), 2);
        assert_eq!(lock.wait.map(|given| given.value), Some(2_000));
        assert!(lock.on.is_some() && lock.no_wait.is_none());
        let history = options.history.expect("a history").value;
        assert!(history.actor.is_some() && history.reason.is_some());
        assert!(
            options
                .allow
                .is_some_and(|allow| allow.value.spawn.is_some())
        );
        assert_eq!(
            options.name.map(|given| given.value.value()),
            Some("x".to_owned())
        );
        let krate = options
            .krate
            .map(|given| given.value.to_token_stream().to_string());
        assert_eq!(krate, Some(":: tx".to_owned()));
    }

    #[test]
    fn all_mistakes_are_reported_in_order() {
        let messages = messages(quote! {
            propogation = Required, name = "a", timeout = "3 weeks", name = "b",
            isolation = snapshot, lock(kyes = ["a"], wait = 2, key = "{}"), retry = 3, db
        });
        let starts = [
            "unknown option `propogation`\nhelp: did you mean `propagation`?",
            "`3 weeks` is not a duration\nhelp: write a whole number and a unit",
            "`name` is set twice\nhelp: keep one of them",
            "unknown isolation `snapshot`\nhelp: expected one of `ReadUncommitted`",
            "unknown `lock` option `kyes`\nhelp: did you mean `keys`?",
            "`wait` takes a duration in quotes\nhelp: write `wait = \"2s\"`",
            "`{}` names no argument\nhelp: write the name of an argument in the braces",
            "`retry` needs options in parentheses\nhelp: write `retry(attempts = 5, ",
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
    fn a_mistake_in_a_list_of_keys_is_one_mistake() {
        let messages = messages(quote!(
            lock(keys = ["a:{}", "b", 3], wait = "2s"),
            read_only
        ));
        assert_eq!(messages.len(), 1, "{messages:#?}");
        assert!(messages[0].starts_with("`{}` names no argument"));
    }

    #[test]
    fn a_lone_name_is_no_rule() {
        let messages = messages(quote!(no_rollback_for = Error::Unchanged | Duplicate));
        assert!(messages[0].starts_with("`Duplicate` alone may be a new variable"));
        assert!(self::messages(quote!(no_rollback_for = _)).is_empty());
    }

    #[test]
    fn words_of_other_frameworks_are_known() {
        let help = |args| messages(args)[0].rsplit("help: ").next().map(str::to_owned);
        let meant = |word| Some(format!("did you mean `{word}`?"));
        assert_eq!(
            help(quote!(RequiresNew)),
            meant("propagation = RequiresNew")
        );
        assert_eq!(help(quote!(readOnly)), meant("read_only"));
        assert_eq!(help(quote!(transaction_manager = x)), meant("db"));
        assert_eq!(help(quote!(noRollbackFor = x)), meant("no_rollback_for"));
        assert_eq!(help(quote!(timeout_ms = 3)), meant("timeout"));
    }
}
