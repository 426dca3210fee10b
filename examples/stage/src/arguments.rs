//! Values on the command line.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::str::FromStr;

use lexopt::{Parser, ValueExt as _};
use strum::VariantArray;

/// The value of the option that was just read.
///
/// # Errors
///
/// If there is none, or it means nothing.
pub fn parsed<T>(parser: &mut Parser) -> Result<T, lexopt::Error>
where
    T: FromStr,
    T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    parser.value()?.parse()
}

/// The value of the option that was just read: a number from 1 on.
///
/// # Errors
///
/// If there is none, or it is no such number.
pub fn count(parser: &mut Parser) -> Result<u32, lexopt::Error> {
    let number: NonZeroU32 = parsed(parser)?;
    Ok(number.get())
}

/// The value of the option that was just read: one of all that there are.
///
/// # Errors
///
/// If there is none, or it is the name of none of them; then the error names them.
pub fn chosen<T: VariantArray + Copy + Display>(parser: &mut Parser) -> Result<T, lexopt::Error> {
    let word = parser.value()?.string()?;
    let mut all = T::VARIANTS.iter().copied();
    all.find(|known| known.to_string() == word).ok_or_else(|| {
        let names: Vec<_> = T::VARIANTS.iter().map(T::to_string).collect();
        format!("there is no `{word}`; take {}", names.join(" or ")).into()
    })
}
