//! The service as it should be: the lock outlives the writes made under it.
//!
//! There are two ways to that, for one question: may the asset stay added if what comes
//! after it fails? [`register`](InterestAssets::register) says yes, and other taps wait for
//! the short transaction of `add` only. [`register_at_once`](InterestAssets::register_at_once)
//! says no: all is one transaction, which keeps the lock until it has ended. It must not read
//! before it has the lock: MariaDB would go on showing it the time of that first read, so
//! tx-runtime refuses (`LockAfterSnapshot`).

use tx_runtime::{Db, transactional};

use crate::error::Error;
use crate::row::Row;
use crate::store::Store;

/// The assets that the users of an application are interested in.
#[derive(Debug)]
pub struct InterestAssets<DB: Store> {
    db: Db<DB>,
}

impl<DB: Store> InterestAssets<DB> {
    /// A service on the tables of `db`.
    #[must_use]
    pub fn new(db: Db<DB>) -> Self {
        Self { db }
    }

    /// Adds `asset` to the account's assets and turns its notification on; `false` if it was
    /// added before.
    ///
    /// # Errors
    ///
    /// Whatever failed. The asset may be added all the same, without its notification; a
    /// second call then turns that on. Where an asset and its notification must come and go
    /// together, use [`register_at_once`](Self::register_at_once).
    #[transactional]
    pub async fn register(&self, account: i64, asset: i64) -> Result<bool, Error> {
        let is_new = self.add(account, asset).await?; // commits by itself, then its lock opens
        self.turn_alarm_on(account, asset).await?;
        Ok(is_new)
    }

    #[transactional(propagation = Isolated, lock = "interest-asset:{account}")]
    async fn add(&self, account: i64, asset: i64) -> Result<bool, Error> {
        self.find_and_save(account, asset).await
    }

    /// As [`register`](Self::register), in one transaction: both happen or none.
    ///
    /// # Errors
    ///
    /// Whatever failed; nothing is stored then.
    #[transactional]
    pub async fn register_at_once(&self, account: i64, asset: i64) -> Result<bool, Error> {
        let is_new = self.add_joining(account, asset).await?; // the lock stays with us
        self.turn_alarm_on(account, asset).await?;
        Ok(is_new) // commits, and then the lock opens
    }

    #[transactional(lock = "interest-asset:{account}")]
    async fn add_joining(&self, account: i64, asset: i64) -> Result<bool, Error> {
        self.find_and_save(account, asset).await
    }

    /// Find, then insert or update: a race, were it not for its callers' lock.
    async fn find_and_save(&self, account: i64, asset: i64) -> Result<bool, Error> {
        let mut row = Row::unique(DB::rows_of(&self.db, account).await?, account)?;
        let is_new = row.add(asset)?;
        if is_new {
            DB::save(&self.db, &row).await?;
        }
        Ok(is_new)
    }

    /// Part of its caller's transaction.
    #[transactional(propagation = Mandatory)]
    async fn turn_alarm_on(&self, account: i64, asset: i64) -> Result<(), Error> {
        DB::notify(&self.db, account, asset).await?;
        Ok(())
    }

    /// Takes `asset` off the account's assets and turns its notification off, in one
    /// transaction; `false` if the account has no such asset.
    ///
    /// # Errors
    ///
    /// Whatever failed; nothing is stored then.
    #[transactional(lock = "interest-asset:{account}")]
    pub async fn unregister(&self, account: i64, asset: i64) -> Result<bool, Error> {
        let mut row = Row::unique(DB::rows_of(&self.db, account).await?, account)?;
        let was_listed = row.remove(asset);
        if was_listed {
            DB::save(&self.db, &row).await?;
            DB::silence(&self.db, account, asset).await?;
        }
        Ok(was_listed)
    }

    /// The account's assets, in the order in which they were added.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    #[transactional(read_only)]
    pub async fn list(&self, account: i64) -> Result<Vec<i64>, Error> {
        let row = Row::unique(DB::rows_of(&self.db, account).await?, account)?;
        Ok(row.assets)
    }

    /// Whether the notification of one of the account's assets is on; `None` if the account
    /// has no such asset.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    #[transactional(read_only)]
    pub async fn find(&self, account: i64, asset: i64) -> Result<Option<bool>, Error> {
        let row = Row::unique(DB::rows_of(&self.db, account).await?, account)?;
        if !row.assets.contains(&asset) {
            return Ok(None);
        }
        let notified = DB::notified_of(&self.db, account).await?;
        Ok(Some(notified.contains(&asset)))
    }
}
