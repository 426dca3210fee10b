//! THE INCIDENT, kept on purpose: never copy this file.
//!
//! Both functions begin and commit their transaction by hand with plain sqlx, as
//! `self.db.pool()` says, so nobody knows which locks its end would have to wait for.

use std::sync::Arc;

use sqlx::Pool;
use tx_runtime::{Db, Lock, LockProvider};

use crate::error::Error;
use crate::row::Row;
use crate::store::Store;

/// The service as it was before it was mended.
#[derive(Debug)]
pub struct Incident<DB: Store> {
    db: Db<DB>,
    locks: Arc<dyn LockProvider>,
}

impl<DB: Store> Incident<DB> {
    /// The faulty service on the tables of `db`.
    ///
    /// The `locks` must exclude other instances too, as the incident's Redis did. Those of the
    /// database would want a second connection while the first one waits for them.
    #[must_use]
    pub fn new(db: Db<DB>, locks: Arc<dyn LockProvider>) -> Self {
        Self { db, locks }
    }

    /// At first there was no lock: two taps find no row, and both insert one.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    pub async fn register_without_lock(&self, account: i64, asset: i64) -> Result<bool, Error> {
        let mut tx = self.pool().begin().await?;
        let is_new = find_and_save::<DB>(&mut tx, account, asset).await?;
        DB::notify(DB::on(&mut tx), account, asset).await?;
        tx.commit().await?;
        Ok(is_new)
    }

    /// Then `add` got a lock and was right, and then `register` was put around it.
    ///
    /// The lock opens where `add` ends; the row is there for others only after the COMMIT,
    /// two statements later. The next tap, lock in hand, finds nothing.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    pub async fn register_with_lock_around_add(
        &self,
        account: i64,
        asset: i64,
    ) -> Result<bool, Error> {
        let mut tx = self.pool().begin().await?;
        let lock = Lock::key(format!("interest-asset:{account}")).on(&self.locks);
        let add = async || find_and_save::<DB>(&mut tx, account, asset).await;
        let is_new = self.db.locked(lock, add).await?;
        DB::notify(DB::on(&mut tx), account, asset).await?;
        tx.commit().await?;
        Ok(is_new)
    }

    fn pool(&self) -> &Pool<DB> {
        self.db.pool()
    }
}

async fn find_and_save<DB: Store>(
    connection: &mut DB::Connection,
    account: i64,
    asset: i64,
) -> Result<bool, Error> {
    let rows = DB::rows_of(DB::on(&mut *connection), account).await?;
    let mut row = Row::unique(rows, account)?;
    let is_new = row.add(asset)?;
    if is_new {
        DB::save(DB::on(connection), &row).await?;
    }
    Ok(is_new)
}
