//! THE INCIDENT, kept on purpose: never copy this file.
//!
//! Plain sqlx, one transaction, no lock. Two taps find no row, and both insert one.

use sqlx::{Executor, Pool};

use crate::service::{Error, unique};
use crate::store::Store;

/// The service as it was before the framework and before any lock.
#[derive(Debug)]
pub(crate) struct NoLock<DB: Store> {
    pool: Pool<DB>,
}

impl<DB: Store> NoLock<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    pub(crate) fn new(pool: Pool<DB>) -> Self {
        Self { pool }
    }

    /// Adds `asset` to the account's assets and turns its notification on.
    pub(crate) async fn register(&self, account: i64, asset: i64) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        let found = unique(DB::rows_of(&mut *tx, account).await?, account)?;
        // Between this find and the COMMIT below another tap finds the same.
        if let Some(row) = found.with(asset) {
            DB::save(&mut *tx, row).await?;
        }
        DB::notify(&mut *tx, account, asset).await?;
        tx.commit().await?;
        Ok(())
    }
}
