//! Why the job could not do its work.

use crate::supplier::SupplierError;

/// Why the job failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The supplier did not name a price.
    #[error(transparent)]
    Supplier(#[from] SupplierError),

    /// The database or the transaction.
    #[error(transparent)]
    Transaction(#[from] tx_runtime::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(error.into())
    }
}
