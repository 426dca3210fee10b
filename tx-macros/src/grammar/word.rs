//! The words of `propagation` and `isolation`.

use proc_macro2::Ident;
use syn::parse::ParseStream;
use syn::{Error, LitStr, Path, Result};

use super::suggest;

/// A word with its meaning. The path stays as it was written (`Propagation::Never`, `Never`), so
/// that an import it needs counts as used.
pub(crate) struct Word<T> {
    pub(crate) path: Path,
    pub(crate) meaning: T,
}

/// An enumeration whose variants are written as words.
pub(crate) trait Words: Copy + 'static {
    const KEY: &'static str;
    const ALL: &'static [(&'static str, Self)];
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    Required,
    RequiresNew,
    Isolated,
    Nested,
    Mandatory,
    Supports,
    NotSupported,
    Never,
}

impl Words for Propagation {
    const KEY: &'static str = "propagation";
    const ALL: &'static [(&'static str, Self)] = &[
        ("Required", Self::Required),
        ("RequiresNew", Self::RequiresNew),
        ("Isolated", Self::Isolated),
        ("Nested", Self::Nested),
        ("Mandatory", Self::Mandatory),
        ("Supports", Self::Supports),
        ("NotSupported", Self::NotSupported),
        ("Never", Self::Never),
    ];
}

/// No check depends on which level it is.
#[derive(Clone, Copy)]
pub(crate) struct Isolation;

impl Words for Isolation {
    const KEY: &'static str = "isolation";
    const ALL: &'static [(&'static str, Self)] = &[
        ("ReadUncommitted", Self),
        ("ReadCommitted", Self),
        ("RepeatableRead", Self),
        ("Serializable", Self),
    ];
}

pub(crate) fn word<T: Words>(input: ParseStream) -> Result<Word<T>> {
    if let Ok(text) = input.fork().parse::<LitStr>() {
        return Err(quoted::<T>(&text));
    }
    let start = input.fork();
    let refused = |_| start.error(format!("`{}` takes one of {}", T::KEY, list::<T>()));
    let path = input.call(Path::parse_mod_style).map_err(refused)?;
    let Some(last) = path.segments.last().map(|segment| &segment.ident) else {
        return Err(start.error(format!("`{}` takes one of {}", T::KEY, list::<T>())));
    };
    let known = T::ALL.iter().find(|(word, _)| last == word);
    let meaning = known.ok_or_else(|| unknown::<T>(last))?.1;
    Ok(Word { path, meaning })
}

/// The word of `T` that looks like `text`, with its key.
pub(crate) fn with_key<T: Words>(text: &str) -> Option<String> {
    suggest::nearest(text, &words::<T>()).map(|word| format!("{} = {word}", T::KEY))
}

fn words<T: Words>() -> Vec<&'static str> {
    T::ALL.iter().map(|(word, _)| *word).collect()
}

fn list<T: Words>() -> String {
    suggest::list(&words::<T>())
}

fn unknown<T: Words>(word: &Ident) -> Error {
    let help = match suggest::nearest(&word.to_string(), &words::<T>()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("expected one of {}", list::<T>()),
    };
    Error::new(
        word.span(),
        format!("unknown {} `{word}`\nhelp: {help}", T::KEY),
    )
}

fn quoted<T: Words>(text: &LitStr) -> Error {
    let help = match with_key::<T>(&text.value()) {
        Some(near) => format!("write `{near}`"),
        None => format!("expected one of {}", list::<T>()),
    };
    let message = format!("`{}` is written without quotes\nhelp: {help}", T::KEY);
    Error::new(text.span(), message)
}
