//! The error type of the programs.

use std::fmt;

use tx_runtime::Error;

#[derive(Debug)]
pub(crate) enum Problem {
    /// Of the call of this number.
    Own(usize),
    /// Likewise, and some scopes commit for it.
    Benign(usize),
    Transaction(Error),
}

impl Problem {
    pub(crate) const fn is_benign(&self) -> bool {
        matches!(self, Self::Benign(_))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(call) => write!(f, "Own({call})"),
            Self::Benign(call) => write!(f, "Benign({call})"),
            Self::Transaction(error) => error.fmt(f),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Transaction(error)
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(error.into())
    }
}
