//! Why a batch could not do its work.

/// Why a batch failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to refresh.
    #[error("no day is open")]
    NoDay,

    /// The database, the transaction or its lock.
    #[error(transparent)]
    Transaction(#[from] tx_runtime::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(error.into())
    }
}
