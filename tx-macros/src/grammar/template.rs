//! The key or label of a lock: text with arguments in braces, `"asset:{account}:{order.id:05}"`. It is a
//! format string whose placeholders may also name fields, so it is rewritten to one with positions.

use proc_macro2::Span;
use syn::{Error, Ident, Index, LitStr, Member, Result};

pub(crate) struct Template {
    /// As it was written: what messages about the key point at.
    pub(crate) text: LitStr,
    /// The format string, with a position in each placeholder.
    pub(crate) format: String,
    pub(crate) holes: Vec<Hole>,
}

/// What a placeholder names: an argument, or a field of one.
pub(crate) struct Hole {
    pub(crate) argument: String,
    pub(crate) fields: Vec<Member>,
}

impl Template {
    /// The key of a lock.
    pub(crate) fn key(text: LitStr) -> Result<Template> {
        const EMPTY: &str = "the lock's key is empty\n\
                             help: name what is locked, such as `\"interest-asset:{account}\"`";
        Self::new(text, EMPTY)
    }

    /// What a lock is wanted for.
    pub(crate) fn label(text: LitStr) -> Result<Template> {
        const EMPTY: &str = "the label is empty\n\
                             help: say what the lock is wanted for, or leave the label out";
        Self::new(text, EMPTY)
    }

    fn new(text: LitStr, empty: &str) -> Result<Template> {
        if text.value().trim().is_empty() {
            return Err(Error::new(text.span(), empty));
        }
        let parsed = rewrite(&text.value());
        let (format, holes) = parsed.map_err(|mistake| Error::new(text.span(), mistake))?;
        Ok(Template {
            text,
            format,
            holes,
        })
    }
}

type Mistake = String;

fn rewrite(text: &str) -> std::result::Result<(String, Vec<Hole>), Mistake> {
    let (mut format, mut holes) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        format.push_str(before);
        rest = if let Some(behind) = from.strip_prefix("{{") {
            format.push_str("{{");
            behind
        } else if let Some(behind) = from.strip_prefix("}}") {
            format.push_str("}}");
            behind
        } else {
            let (inside, behind) = placeholder(from)?;
            let (hole, spec) = hole(inside)?;
            let position = holes.len().to_string();
            format.extend(["{", &position, spec, "}"]);
            holes.push(hole);
            behind
        };
    }
    format.push_str(rest);
    Ok((format, holes))
}

/// The inside of the braces at the start of `text`, and what follows them.
fn placeholder(text: &str) -> std::result::Result<(&str, &str), Mistake> {
    let Some(inside) = text.strip_prefix('{') else {
        return Err(
            "`}` closes no placeholder\nhelp: write `}}` for a brace in the key".to_owned(),
        );
    };
    inside.split_once('}').ok_or_else(|| {
        "a placeholder of the key is not closed\n\
         help: write `}` behind the argument's name, or `{{` for a brace in the key"
            .to_owned()
    })
}

/// The argument and its fields; the format specification stays text, with its colon.
fn hole(inside: &str) -> std::result::Result<(Hole, &str), Mistake> {
    let (path, spec) = inside.split_at(inside.find(':').unwrap_or(inside.len()));
    let path = path.trim();
    if path.is_empty() || path.chars().all(|c| c.is_ascii_digit()) {
        return Err(format!(
            "`{{{inside}}}` names no argument\n\
             help: write the name of an argument in the braces"
        ));
    }
    let mut words = path.split('.');
    let argument = words.next().and_then(argument);
    let fields: Option<Vec<_>> = words.map(field).collect();
    let (Some(argument), Some(fields), false) = (argument, fields, spec.starts_with("::")) else {
        return Err(format!(
            "`{inside}` is neither an argument nor a field of one\n\
             help: take the value as an argument, and name that in the key"
        ));
    };
    if spec.contains('$') {
        return Err(format!(
            "the format of `{{{inside}}}` depends on another argument\n\
             help: write the number itself"
        ));
    }
    Ok((Hole { argument, fields }, spec))
}

fn argument(word: &str) -> Option<String> {
    let plain = word.strip_prefix("r#").unwrap_or(word);
    (plain == "self" || name(plain).is_some()).then(|| plain.to_owned())
}

fn field(word: &str) -> Option<Member> {
    let span = Span::call_site();
    if word.chars().all(|c| c.is_ascii_digit()) {
        let index = word.parse().ok()?;
        return Some(Member::Unnamed(Index { index, span }));
    }
    name(word.strip_prefix("r#").unwrap_or(word)).map(Member::Named)
}

/// A name that is a keyword can only have been declared as a raw one. The letters are looked at
/// first, because the compiler's lexer reports what it cannot read by itself.
fn name(word: &str) -> Option<Ident> {
    let letters = word.chars().all(|c| c == '_' || c.is_alphanumeric());
    let begins = !word.starts_with(|c: char| c.is_numeric());
    if word.is_empty() || !letters || !begins || NEVER_NAMES.contains(&word) {
        return None;
    }
    let plain = syn::parse_str(word);
    plain.or_else(|_| syn::parse_str(&format!("r#{word}"))).ok()
}

const NEVER_NAMES: [&str; 5] = ["_", "self", "Self", "super", "crate"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Vec<String>) {
        let (format, holes) = rewrite(text).expect("a key");
        let path = |hole: Hole| {
            let fields = hole.fields.iter().map(|field| match field {
                Member::Named(name) => format!(".{name}"),
                Member::Unnamed(index) => format!(".{}", index.index),
            });
            hole.argument + &fields.collect::<String>()
        };
        (format, holes.into_iter().map(path).collect())
    }

    #[test]
    fn placeholders_become_positions() {
        let (format, holes) = read("a:{id}:{order.type:05}:{self.tenant}:{pair.0}:{r#type:?}");
        assert_eq!(format, "a:{0}:{1:05}:{2}:{3}:{4:?}");
        let expected = ["id", "order.r#type", "self.tenant", "pair.0", "type"];
        assert_eq!(holes, expected);
    }

    #[test]
    fn braces_can_be_part_of_the_key() {
        assert_eq!(
            read("{{{id}}}"),
            ("{{{0}}}".to_owned(), vec!["id".to_owned()])
        );
        assert_eq!(read("batch"), ("batch".to_owned(), vec![]));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let broken = [
            "{", "}", "a}", "{a", "{}", "{0}", "{:?}", "{a.}", "{.a}", "{a b}", "{a()}", "{a::b}",
            "{a + 1}", "{a[0]}", "{a:w$}", "{a:{b}}", "{\"a\"}", "{a..b}", "{&a}", "{a.+1}",
        ];
        for text in broken {
            assert!(rewrite(text).is_err(), "{text}");
        }
    }
}
