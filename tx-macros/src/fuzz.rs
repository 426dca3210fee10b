//! Inputs made at random: whatever the attributes are given, they end, without a panic, in Rust that
//! parses or in a `compile_error!`.

use std::thread;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::parse::Parser;

use crate::attribute::{locked, transactional};
use crate::grammar::keys;

const INPUTS: usize = 100_000;

/// What lists of options are made of, beside the keys themselves.
const WORDS: [&str; 62] = [
    "Required",
    "RequiresNew",
    "Isolated",
    "Nested",
    "Mandatory",
    "Supports",
    "NotSupported",
    "Never",
    "Serializable",
    "ReadCommitted",
    "Propagation::Nested",
    "true",
    "false",
    "skip",
    "self",
    "self.db",
    "self.pool.lock().unwrap()[0]",
    "db",
    "crate",
    "::tx",
    "crate::a::tx",
    "::tx_runtime",
    "3",
    "-1",
    "5.0",
    "0x10",
    "99999999999999999999",
    "3s",
    "'a",
    "'x'",
    "\"3s\"",
    "\"10ms..1s\"",
    "\"1s..10ms\"",
    "\"0s\"",
    "\"1.5s\"",
    "\"\"",
    "\"a:{id}\"",
    "\"{order.id:>5}\"",
    "\"{self.tenant}\"",
    "\"{\"",
    "\"}\"",
    "\"{}\"",
    "\"{{id}}\"",
    "\"{id:w$}\"",
    "\"{r#type}\"",
    "\"\\u{301}{\u{e9}}\"",
    "\"{a.0.1}\"",
    "[\"a\", \"b:{id}\"]",
    "[]",
    "E::A(_)",
    "E::A(1, ..)",
    "E::B { x: 1, .. }",
    "E::A(E::B | E::C)",
    "A",
    "_",
    "a @ _",
    "1..=3",
    "|v| v.is_empty()",
    "|a, b| a",
    "Vec::is_empty",
    "E::A(x) if x",
    "#",
];

/// Options that are right by themselves.
const OPTIONS: [&str; 17] = [
    "db = self.pool,",
    "propagation = RequiresNew,",
    "propagation = Nested,",
    "propagation = Never,",
    "isolation = Serializable,",
    "read_only,",
    "timeout = \"3s\",",
    "timeout = \"none\",",
    "name = \"x\",",
    "retry(attempts = 5, backoff = \"10ms..1s\", idempotent),",
    "lock = \"a:{id}\",",
    "lock(keys = [\"a:{id}\", \"b\"], wait = \"2s\", on = LOCKS, label = \"of {id}\"),",
    "allow(spawn),",
    "no_rollback_for = E::A(_) | E::B { x: 1, .. },",
    "rollback_for = E::A(1),",
    "rollback_if = |v| v.is_empty(),",
    "crate = ::tx,",
];

const MARKS: [&str; 12] = ["=", "=", "=", ",", ",", ",", "|", "::", ".", ";", "!", "&"];

/// Items that are valid, in every shape the attributes meet.
const ITEMS: [&str; 18] = [
    "async fn f(db: &Db, id: i64) -> Result<(), E> { work(id).await }",
    "pub(crate) async fn f<T, const N: usize>(&mut self, id: [T; N]) -> Result<T, E> where T: A { todo!() }",
    "#[doc = \"x\"] async unsafe fn f(self: Arc<Self>, (id, b): (i64, u8)) -> Alias<Self> { #![allow(x)] loop {} }",
    "async fn f(db: Db, S { id, order: [a, .., b], .. }: S) -> Result<impl Fn() -> i64, impl Error> { tokio::spawn(id) }",
    "fn f<'a>(&'a self, id: i64) -> Pin<Box<dyn Future<Output = Result<(), E>> + Send + 'a>> { Box::pin(async move { 1 }) }",
    "fn f(&self) -> Pin<Box<dyn Future<Output = ()>>> { x }",
    "const fn f(db: Db) -> Result<(), E> { }",
    "extern \"C\" fn f(db: Db) -> Result<(), E> { }",
    "async fn f(db: Db) -> Option<i64> { None }",
    "async fn f(db: Db) { }",
    "async fn f(&self, r#type: i64, mut id: i64) -> r#try::Result<Vec<i64>, E> { std::thread::spawn(id) }",
    "#[transactional] #[locked] async fn f(db: Db) -> Result<(), E> { Ok(()) }",
    "impl S { const A: T = { 1 }; pub async fn f(&self, id: i64) -> Result<(), E> { } fn g() { } m! { } m!(); }",
    "#[a] unsafe impl<const N: usize> T for S<{ N }> where [(); { N }]: { type A = B; async fn f(&self) -> Result<(), E> { } #[transactional(skip)] async fn g() { } }",
    "impl S { #![allow(x)] #[transactional(nonsense)] pub async fn f(&self) -> Result<(), E> { } }",
    "trait T { async fn f(&self); }",
    "struct S { a: i64 }",
    "async fn f(&self) -> Result<(), E>;",
];

/// The same numbers for the same seed.
struct Dice {
    state: u64,
    keys: Vec<&'static str>,
}

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 16).unwrap_or_default() % end
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    fn key(&mut self) -> &'static str {
        let at = self.below(self.keys.len());
        self.keys[at]
    }

    /// A few options that are right by themselves.
    fn sound_options(&mut self) -> String {
        let options = OPTIONS.iter().filter(|_| self.one_in(10));
        options.copied().collect()
    }

    /// Mostly `key = value` and `key(..)` between commas, and some of anything.
    fn options(&mut self, depth: usize) -> String {
        let parts = (0..self.below(5)).map(|_| {
            let (key, value, mark) = (self.key(), self.of(&WORDS), self.of(&MARKS));
            match self.below(8) {
                0..=3 => format!("{key} = {value}, "),
                4 if depth < 3 => format!("{key}({}), ", self.options(depth + 1)),
                5 => format!("{key} "),
                6 => format!("{value} {mark}"),
                _ => format!("{mark} "),
            }
        });
        parts.collect::<Vec<_>>().concat()
    }

    /// Leaves out, doubles, swaps or replaces a token now and then.
    fn disturbed(&mut self, tokens: TokenStream, rarity: usize) -> TokenStream {
        let mut disturbed: Vec<TokenTree> = Vec::new();
        for token in tokens {
            let token = match token {
                TokenTree::Group(group) => {
                    let delimiter = match self.below(rarity * 4) {
                        0 => Delimiter::None,
                        1 => Delimiter::Bracket,
                        _ => group.delimiter(),
                    };
                    TokenTree::Group(Group::new(
                        delimiter,
                        self.disturbed(group.stream(), rarity),
                    ))
                }
                other => other,
            };
            match self.below(rarity * 4) {
                0 => {}
                1 => disturbed.extend([token.clone(), token]),
                2 => disturbed.insert(self.below(disturbed.len() + 1), token),
                3 => disturbed.extend(parsed(self.of(&WORDS))),
                _ => disturbed.push(token),
            }
        }
        disturbed.into_iter().collect()
    }
}

fn parsed(text: &str) -> TokenStream {
    text.parse().unwrap_or_default()
}

fn is_rust(tokens: &TokenStream) -> bool {
    syn::parse2::<syn::File>(tokens.clone()).is_ok()
        || syn::Block::parse_within.parse2(tokens.clone()).is_ok()
        || syn::parse2::<syn::TraitItemFn>(tokens.clone()).is_ok()
}

/// Whether it asks the compiler to fail.
fn is_refusal(tokens: &TokenStream) -> bool {
    let mut tokens = tokens.clone().into_iter();
    tokens.any(|token| matches!(token, TokenTree::Ident(word) if word == "compile_error"))
}

/// Gives one attribute one input; returns whether it was accepted.
fn assert_survives(seed: usize) -> bool {
    let state = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let keys = keys();
    let mut dice = Dice { state, keys };
    let args = if dice.one_in(2) {
        dice.sound_options()
    } else {
        dice.options(0)
    };
    let args = parsed(&args);
    let args = if dice.one_in(3) {
        dice.disturbed(args, 3)
    } else {
        args
    };
    let item = parsed(dice.of(&ITEMS));
    let item = if dice.one_in(3) {
        dice.disturbed(item, 8)
    } else {
        item
    };
    let attribute = if dice.one_in(4) {
        locked
    } else {
        transactional
    };

    let valid = is_rust(&item);
    let (shown_args, shown_item) = (args.to_string(), item.to_string());
    let output = attribute(args, item);
    let refused = is_refusal(&output);
    // The body is not looked into, so what was no Rust before may be none afterwards.
    assert!(
        refused || !valid || is_rust(&output),
        "seed {seed}: neither Rust nor a refusal of\n  ({shown_args})\n  {shown_item}\n  {output}"
    );
    !refused
}

#[test]
fn whatever_is_given_comes_out_as_rust_or_as_an_error() {
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let run = |first| {
        (first..INPUTS)
            .step_by(workers)
            .filter(|seed| assert_survives(*seed))
            .count()
    };
    let accepted: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|first| scope.spawn(move || run(first)))
            .collect();
        let counts = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        counts.sum()
    });
    // Not all of it is nonsense.
    assert!(
        accepted > INPUTS / 20,
        "only {accepted} of {INPUTS} were accepted"
    );
}

#[test]
fn what_is_refused_keeps_its_item() {
    for item in ITEMS {
        let item = parsed(item);
        let output = transactional(parsed("nonsense = 1"), item.clone());
        assert!(is_refusal(&output), "{item}");
        let kept = output
            .to_string()
            .ends_with(&without_skips(&item).to_string());
        assert!(kept, "{item}\n{output}");
    }
}

fn without_skips(item: &TokenStream) -> TokenStream {
    let text = item.to_string();
    parsed(&text.replace("# [transactional (skip)]", ""))
}
