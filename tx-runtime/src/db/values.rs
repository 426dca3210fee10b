//! Values that services keep for the length of a transaction.

use std::any::Any;
use std::panic::Location;
use std::sync::Arc;

use super::Db;
use crate::dialect::Dialect;
use crate::error::Error;
use crate::site::Site;

/// Values of the current transaction, one for each type.
///
/// A value is there for all scopes of its transaction, whichever of them has put it: a cache, the
/// acting user, a batch that a `before_commit` hook writes. A `RequiresNew` scope has values of
/// its own, and the caller's are back after it. What was put in a savepoint that is rolled back
/// is gone, and what it had replaced is there again. With the end of the transaction all are
/// dropped; a hook that wants one later takes it along.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let db = tx_runtime::SqliteDb::connect("sqlite::memory:").await?;
/// use tx_runtime::Error;
///
/// struct Actor(&'static str);
///
/// db.transaction(async || {
///     db.put(Actor("anna"))?;
///     db.transaction(async || {
///         let actor = db.value::<Actor>()?;
///         assert_eq!(actor.unwrap().0, "anna");
///         Ok::<_, Error>(())
///     })
///     .await
/// })
/// .await?;
/// assert!(matches!(db.value::<Actor>(), Err(Error::NoTransaction { .. })));
/// # Ok::<_, Error>(())
/// # }).unwrap();
/// ```
///
/// In an explicit [`Tx`](crate::Tx) they are put and found inside [`within`](crate::Tx::within).
impl<DB: Dialect> Db<DB> {
    /// Keeps `value` for the scopes of the current transaction, instead of the one of its type.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] outside a transaction, [`Error::TransactionClosed`] after its end.
    #[track_caller]
    pub fn put<T: Any + Send + Sync>(&self, value: T) -> Result<(), Error> {
        let position = self.position(Site::at("put", Location::caller()))?;
        position.level.check_open()?;
        position.transaction.values().put(&position.level, value);
        Ok(())
    }

    /// The value of this type that was put last, if one was.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] outside a transaction, [`Error::TransactionClosed`] after its end.
    #[track_caller]
    pub fn value<T: Any + Send + Sync>(&self) -> Result<Option<Arc<T>>, Error> {
        let position = self.position(Site::at("value", Location::caller()))?;
        position.level.check_open()?;
        Ok(position.transaction.values().get(&position.level))
    }
}
