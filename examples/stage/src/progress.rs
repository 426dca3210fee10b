//! How far a run has come.

use indicatif::{ProgressBar, ProgressStyle};

/// Where a bar stands on its line, and what is left of the work.
const STYLE: &str = "{prefix:<28} {bar:40} {pos}/{len} {msg}";

/// A bar of `total` steps on standard error, which shows nothing if that is not a terminal.
///
/// # Panics
///
/// Never: the style is known.
#[must_use]
pub fn bar(label: impl Into<String>, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(STYLE).expect("the style is one");
    ProgressBar::new(total)
        .with_style(style)
        .with_prefix(label.into())
}
