//! The ways to leave the job before its last line.

use crate::supplier::Manner;

/// How the job is left; the first way is that of the incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
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
