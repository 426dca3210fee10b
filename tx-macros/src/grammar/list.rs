//! Options between commas: `word`, `key = value` and `key(..)`. A mistake becomes an error and
//! reading goes on with the next option, so that all of them are reported together.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Error, Result, Token, parenthesized, token};

use super::suggest;

/// A value and the key that set it.
pub(crate) struct Given<T> {
    pub(crate) key: Ident,
    pub(crate) value: T,
}

/// Options that are read by their keys.
pub(crate) trait Keyed: Default {
    /// All the keys there are, in the order in which messages name them.
    const KEYS: &'static [&'static str];

    /// What the options belong to, in front of `option` in messages: nothing, or `` `lock` ``.
    const OWNER: &'static str;

    /// The value of a key, read behind it.
    fn option(&mut self, key: Ident, input: ParseStream, errors: &mut Vec<Error>) -> Result<()>;

    /// What is missing, of options that were read without a mistake.
    fn missing(&self, _: &Ident) -> Option<Error> {
        None
    }

    /// What an unknown key was meant for, where that is not just a key nearby.
    fn meant(_: &str) -> Option<String> {
        None
    }
}

/// Reads the options of an attribute.
pub(crate) fn parse<T: Keyed>(attribute: &str, args: TokenStream, errors: &mut Vec<Error>) -> T {
    let mut options = T::default();
    let whole = Ident::new(attribute, Span::call_site());
    let parser = |input: ParseStream| {
        read(&mut options, &whole, input, errors);
        Ok(())
    };
    // The parser above never fails; this is for tokens that syn itself refuses.
    let refused = parser.parse2(args).err();
    errors.extend(refused);
    options
}

fn read<T: Keyed>(options: &mut T, owner: &Ident, input: ParseStream, errors: &mut Vec<Error>) {
    let before = errors.len();
    while !input.is_empty() {
        let option = read_next(options, input, errors).and_then(|()| separator(input));
        if let Err(error) = option {
            errors.push(error);
            skip_option::<T>(input);
        }
    }
    if errors.len() == before {
        errors.extend(options.missing(owner));
    }
}

fn read_next<T: Keyed>(options: &mut T, input: ParseStream, errors: &mut Vec<Error>) -> Result<()> {
    let key = input.call(Ident::parse_any);
    let key = key.map_err(|error| Error::new(error.span(), expected_option::<T>()))?;
    if T::KEYS.iter().any(|known| key == known) {
        return options.option(key, input, errors);
    }
    Err(unknown_option::<T>(&key))
}

/// `key = value`
pub(crate) fn set<T>(
    slot: &mut Option<Given<T>>,
    key: Ident,
    input: ParseStream,
    example: &str,
    parse: impl FnOnce(ParseStream) -> Result<T>,
) -> Result<()> {
    once(slot.as_ref(), &key)?;
    if input.parse::<Token![=]>().is_err() || at_end(input) {
        return Err(needs(&key, "a value", &format!("{key} = {example}")));
    }
    let value = parse(input)?;
    *slot = Some(Given { key, value });
    Ok(())
}

/// `key(option, option)`
pub(crate) fn set_list<T: Keyed>(
    slot: &mut Option<Given<T>>,
    key: Ident,
    input: ParseStream,
    example: &str,
    errors: &mut Vec<Error>,
) -> Result<()> {
    once(slot.as_ref(), &key)?;
    if !input.peek(token::Paren) {
        return Err(needs(&key, "options in parentheses", example));
    }
    let content;
    parenthesized!(content in input);
    let mut value = T::default();
    read(&mut value, &key, &content, errors);
    *slot = Some(Given { key, value });
    Ok(())
}

/// `key` alone; `key = true` is accepted from those who are used to it.
pub(crate) fn set_flag(slot: &mut Option<Given<()>>, key: Ident, input: ParseStream) -> Result<()> {
    once(slot.as_ref(), &key)?;
    if input.peek(Token![=]) {
        input.parse::<Token![=]>()?;
        let value = input.fork();
        match input.parse::<syn::LitBool>() {
            Ok(value) if value.value => {}
            Ok(value) => {
                let message = format!("`{key}` is a flag\nhelp: leave `{key}` out");
                return Err(Error::new(value.span, message));
            }
            Err(_) => return Err(value.error(format!("`{key}` is a flag\nhelp: write `{key}`"))),
        }
    }
    *slot = Some(Given { key, value: () });
    Ok(())
}

fn once<T>(slot: Option<&Given<T>>, key: &Ident) -> Result<()> {
    if slot.is_none() {
        return Ok(());
    }
    let message = format!("`{key}` is set twice\nhelp: keep one of them");
    Err(Error::new(key.span(), message))
}

pub(crate) fn needs(key: &Ident, what: &str, example: &str) -> Error {
    let message = format!("`{key}` needs {what}\nhelp: write `{example}`");
    Error::new(key.span(), message)
}

fn separator(input: ParseStream) -> Result<()> {
    if !input.is_empty() && input.parse::<Token![,]>().is_err() {
        return Err(input.error("expected `,` between options"));
    }
    Ok(())
}

/// Goes to the start of the next option: behind the next comma, or to a key that lacks one.
fn skip_option<T: Keyed>(input: ParseStream) {
    while !input.is_empty() && !starts_option::<T>(input) {
        if input.parse::<Token![,]>().is_ok() {
            return;
        }
        // Any token can be taken from an input that has one.
        let _ = input.parse::<TokenTree>();
    }
}

fn starts_option<T: Keyed>(input: ParseStream) -> bool {
    let ahead = input.fork();
    let key = ahead.call(Ident::parse_any);
    let known = key.is_ok_and(|key| T::KEYS.iter().any(|known| key == known));
    known && (ahead.peek(Token![=]) || ahead.peek(token::Paren) || at_end(&ahead))
}

pub(crate) fn at_end(input: ParseStream) -> bool {
    input.is_empty() || input.peek(Token![,])
}

fn expected_option<T: Keyed>() -> String {
    format!("expected an option: {}", suggest::list(T::KEYS))
}

fn unknown_option<T: Keyed>(key: &Ident) -> Error {
    let word = key.to_string();
    let near = suggest::nearest(&word, T::KEYS).map(String::from);
    let help = match near.or_else(|| T::meant(&word)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("expected one of {}", suggest::list(T::KEYS)),
    };
    let message = format!("unknown {}option `{word}`\nhelp: {help}", T::OWNER);
    Error::new(key.span(), message)
}

/// Every key of every list, for those who make lists at random.
#[cfg(test)]
pub(crate) fn keys() -> Vec<&'static str> {
    use super::{Exception, History, Lock, Locked, Options, Retry};
    let lists = [
        Options::KEYS,
        Lock::KEYS,
        Locked::KEYS,
        Retry::KEYS,
        Exception::KEYS,
        History::KEYS,
    ];
    lists.concat()
}
