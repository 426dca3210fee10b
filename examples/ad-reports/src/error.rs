//! Why an import failed.

use crate::client::ClientError;

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API, or the way to it.
    #[error(transparent)]
    Api(#[from] ClientError),

    /// The database, the transaction or the account's lock.
    #[error(transparent)]
    Transaction(#[from] tx_runtime::Error),

    /// Another import has had the account for too long, says its status.
    #[error("the account was occupied until the wait was over")]
    Occupied,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(error.into())
    }
}
