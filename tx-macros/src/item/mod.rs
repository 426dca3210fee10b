//! What the attributes stand on. Signatures are parsed; bodies stay the tokens that were written:
//! parsing them would cost compile time and refuse the half-typed code that an editor sends.

mod arguments;
pub(crate) mod boxed;
mod function;
mod impl_block;

pub(crate) use arguments::{Arguments, by_value};
pub(crate) use function::{Attr, Function, ends_in};
pub(crate) use impl_block::{ImplBlock, Member, skips, without_skips};
