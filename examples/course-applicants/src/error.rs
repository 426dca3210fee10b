//! Why the service could not do what it was asked.

/// Why a call of the service failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The number is in use.
    #[error("applicant {0} is registered already")]
    Taken(i64),

    /// There is no such applicant.
    #[error("there is no applicant {0}")]
    Unknown(i64),

    /// The database or the transaction.
    #[error(transparent)]
    Transaction(#[from] tx_runtime::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(error.into())
    }
}
