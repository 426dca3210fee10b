//! The placeholders of a lock's key, against the arguments of the function.

use syn::Error;

use crate::grammar::{self, Hole, Lock, Template};
use crate::item::{Arguments, Function};

pub(crate) fn all(function: &Function, lock: &Lock) -> Vec<Error> {
    let arguments = Arguments::of(&function.sig);
    let holes = lock
        .templates()
        .flat_map(|key| key.holes.iter().map(move |hole| (key, hole)));
    let unknown = holes.filter(|(_, hole)| arguments.find(&hole.argument).is_none());
    unknown
        .map(|(key, hole)| error(function, &arguments, key, hole))
        .collect()
}

fn error(function: &Function, arguments: &Arguments, key: &Template, hole: &Hole) -> Error {
    let (name, wanted) = (&function.sig.ident, &hole.argument);
    let names = arguments.names();
    let known: Vec<_> = names.iter().map(String::as_str).collect();
    let help = match grammar::nearest(wanted, &known) {
        Some(near) => format!("did you mean `{{{near}}}`?"),
        None if known.is_empty() => {
            format!("`{name}` takes no arguments: write the key without braces")
        }
        None => format!("the arguments are {}", grammar::list(&known)),
    };
    let message = if wanted == "self" {
        format!("`{{self}}` is not available: `{name}` takes no `self`\nhelp: {help}")
    } else {
        format!("`{{{wanted}}}` names no argument of `{name}`\nhelp: {help}")
    };
    Error::new(key.text.span(), message)
}
