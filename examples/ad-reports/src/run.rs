//! One import: days of one account, on one of the two paths.

use std::fmt;
use std::ops::RangeInclusive;

/// Which of the two paths through the code an import takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// A user has pressed the button.
    Manual,
    /// The batch that goes through all accounts at night.
    Nightly,
}

impl Path {
    /// Its name in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Nightly => "nightly",
        }
    }
}

/// What is to be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Whose reports.
    pub account: i64,
    /// On which path.
    pub path: Path,
    /// A report for each.
    pub days: RangeInclusive<i64>,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, first, last) = (self.path.name(), self.days.start(), self.days.end());
        write!(f, "{path} import of days {first} to {last}")
    }
}
