//! `history(actor = user.id, reason = "signed up")`.

use proc_macro2::Ident;
use syn::parse::ParseStream;
use syn::{Error, Expr, Result};

use super::list::{Given, Keyed, set};
use super::options::expression;

pub(crate) const EXAMPLE: &str = "history(actor = user.id, reason = \"signed up\")";

/// Who makes the changes, and why.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) actor: Option<Given<Expr>>,
    pub(crate) reason: Option<Given<Expr>>,
}

impl Keyed for History {
    const KEYS: &'static [&'static str] = &["actor", "reason"];
    const OWNER: &'static str = "`history` ";

    fn option(&mut self, key: Ident, input: ParseStream, _: &mut Vec<Error>) -> Result<()> {
        if key == "actor" {
            set(&mut self.actor, key, input, "user.id", expression)
        } else {
            set(&mut self.reason, key, input, "\"signed up\"", expression)
        }
    }

    fn missing(&self, owner: &Ident) -> Option<Error> {
        if self.actor.is_some() {
            return None;
        }
        let message = format!(
            "`{owner}` does not say who makes the changes\n\
             help: add `actor = user.id`"
        );
        Some(Error::new(owner.span(), message))
    }

    fn meant(word: &str) -> Option<String> {
        let meant = match word {
            "user" | "author" | "who" | "by" | "whodunnit" | "name" => "actor",
            "why" | "message" | "comment" | "cause" => "reason",
            _ => return None,
        };
        Some(meant.to_owned())
    }
}
