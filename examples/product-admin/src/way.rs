//! The ways to leave the job before its last line.

use std::fmt;
use std::str::FromStr;

use crate::supplier::Manner;

/// How the job is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There is nothing to do: `return Ok(())`.
    Return,
    /// The supplier cannot be reached: `?`.
    Error,
    /// What the supplier says makes the code panic.
    Panic,
    /// The supplier is silent, and the job's time is up.
    Timeout,
    /// The supplier is silent, and whoever wanted the job is gone.
    Dropped,
}

impl Way {
    /// All of them; the first is the incident's.
    pub const ALL: [Self; 5] = [
        Self::Return,
        Self::Error,
        Self::Panic,
        Self::Timeout,
        Self::Dropped,
    ];

    /// Its name on the command line and in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Return => "return",
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Dropped => "dropped",
        }
    }

    /// The supplier that has the job left in this way, of a product that costs `price`.
    pub(crate) fn manner(self, price: i64) -> Manner {
        match self {
            Self::Return => Manner::Offers(price),
            Self::Error => Manner::Unreachable,
            Self::Panic => Manner::Nonsense,
            Self::Timeout | Self::Dropped => Manner::Silent,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text is not the name of a way.
#[derive(Debug, thiserror::Error)]
#[error("there is no such way; take {}", Way::ALL.map(Way::name).join(", "))]
pub struct UnknownWay;

impl FromStr for Way {
    type Err = UnknownWay;

    fn from_str(text: &str) -> Result<Self, UnknownWay> {
        let mut all = Self::ALL.into_iter();
        all.find(|way| way.name() == text).ok_or(UnknownWay)
    }
}
