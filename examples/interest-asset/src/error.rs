//! Why the service could not do what it was asked.

/// Why a call of the service failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An account has several rows: what the incident's log was full of.
    #[error("query did not return a unique result: {0}")]
    NotUnique(usize),

    /// The account can take no further asset.
    #[error("the account has {0} assets already, and that is the limit")]
    Full(usize),

    /// The database, the transaction or its lock.
    #[error(transparent)]
    Transaction(#[from] tx_runtime::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(error.into())
    }
}
