//! Values on the command line.

use std::num::NonZeroU32;
use std::str::FromStr;

use lexopt::{Parser, ValueExt as _};

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
