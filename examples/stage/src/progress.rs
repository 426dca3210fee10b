//! How far a run has come.

use indicatif::{ProgressBar, ProgressStyle};

/// Short, and with a message that is cut where the line ends: several bars stand below each other,
/// and a line that wraps is not drawn over.
const STYLE: &str = "{prefix} {bar:24} {pos}/{len} {wide_msg}";

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
