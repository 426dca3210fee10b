//! `retry(attempts = 5, backoff = "10ms..1s", idempotent)`.

use proc_macro2::Ident;
use syn::parse::ParseStream;
use syn::{Error, LitInt, LitStr, Result};

use super::duration::range;
use super::list::{Given, Keyed, set, set_flag};

pub(crate) const EXAMPLE: &str = "retry(attempts = 5, backoff = \"10ms..1s\")";

#[derive(Default)]
pub(crate) struct Retry {
    pub(crate) attempts: Option<Given<u32>>,
    pub(crate) backoff: Option<Given<(u64, u64)>>,
    pub(crate) idempotent: Option<Given<()>>,
}

impl Keyed for Retry {
    const KEYS: &'static [&'static str] = &["attempts", "backoff", "idempotent"];
    const OWNER: &'static str = "`retry` ";

    fn option(&mut self, key: Ident, input: ParseStream, _: &mut Vec<Error>) -> Result<()> {
        match key.to_string().as_str() {
            "attempts" => set(&mut self.attempts, key, input, "5", attempts),
            "backoff" => {
                let name = key.clone();
                set(&mut self.backoff, key, input, "\"10ms..1s\"", |input| {
                    range(&name, input)
                })
            }
            _ => set_flag(&mut self.idempotent, key, input),
        }
    }

    fn missing(&self, owner: &Ident) -> Option<Error> {
        if self.attempts.is_some() {
            return None;
        }
        let message = "`retry` needs a number of attempts\nhelp: add `attempts = 5`";
        Some(Error::new(owner.span(), message))
    }

    fn meant(word: &str) -> Option<String> {
        let meant = match word {
            "max_attempts" | "times" | "count" | "max" => "attempts",
            "delay" | "pause" | "wait" => "backoff",
            _ => return None,
        };
        Some(meant.to_owned())
    }
}

fn attempts(input: ParseStream) -> Result<u32> {
    let start = input.fork();
    if let Ok(text) = input.fork().parse::<LitStr>() {
        let message = "`attempts` is written without quotes\nhelp: write `attempts = 5`";
        return Err(Error::new(text.span(), message));
    }
    let number: LitInt = input
        .parse()
        .map_err(|_| start.error("`attempts` takes a number\nhelp: write `attempts = 5`"))?;
    let attempts = number.base10_parse::<u32>().map_err(|_| {
        let message = "`attempts` takes a whole number\nhelp: write `attempts = 5`";
        Error::new(number.span(), message)
    })?;
    if attempts < 2 {
        let message = format!(
            "`attempts = {attempts}` is no retry: the first run counts as an attempt\n\
             help: write at least `attempts = 2`, or leave `retry` out"
        );
        return Err(Error::new(number.span(), message));
    }
    Ok(attempts)
}
