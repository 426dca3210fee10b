//! Panics of code that is not ours, caught and put into words.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls `foreign`; its panic as an error in words.
///
/// Nobody may look at what it has left half done.
pub(crate) fn caught<T>(foreign: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(foreign)).map_err(|panic| words_of(&*panic))
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!(
        "it panicked: {}",
        words.unwrap_or("with a value that is no text")
    )
}
