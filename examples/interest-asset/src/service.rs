//! The service: `register` is what one tap calls.

use tx_runtime::{Db, transactional};

use crate::store::{Row, Store};

/// Why a tap failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An account has several rows: what the incident's log was full of.
    #[error("query did not return a unique result: {0}")]
    NotUnique(usize),

    /// The database or the transaction.
    #[error(transparent)]
    Transaction(#[from] tx_runtime::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(error.into())
    }
}

/// The one row that an account has, or a new one.
pub(crate) fn unique(mut rows: Vec<Row>, account: i64) -> Result<Row, Error> {
    match rows.len() {
        0 => Ok(Row::empty(account)),
        1 => Ok(rows.remove(0)),
        several => Err(Error::NotUnique(several)),
    }
}

/// The assets that the users of an application are interested in.
#[derive(Debug)]
pub(crate) struct InterestAssets<DB: Store> {
    db: Db<DB>,
}

impl<DB: Store> InterestAssets<DB> {
    pub(crate) fn new(db: Db<DB>) -> Self {
        Self { db }
    }

    /// Adds `asset` to the account's assets and turns its notification on.
    #[transactional]
    pub(crate) async fn register(&self, account: i64, asset: i64) -> Result<(), Error> {
        let key = format!("interest-asset:{account}");
        // `add` commits, and only then the lock opens: whoever comes next finds the row.
        self.db
            .locked(&key, async || self.add(account, asset).await)
            .await?;
        self.turn_alarm_on(account, asset).await
    }

    /// Find, then insert or update: a race, were it not for the lock that `Isolated` demands.
    #[transactional(propagation = Isolated)]
    async fn add(&self, account: i64, asset: i64) -> Result<(), Error> {
        let found = unique(DB::rows_of(&self.db, account).await?, account)?;
        if let Some(row) = found.with(asset) {
            DB::save(&self.db, row).await?;
        }
        Ok(())
    }

    /// Part of its caller's transaction.
    #[transactional(propagation = Mandatory)]
    async fn turn_alarm_on(&self, account: i64, asset: i64) -> Result<(), Error> {
        DB::notify(&self.db, account, asset).await?;
        Ok(())
    }
}
