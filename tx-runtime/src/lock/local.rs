//! Locks inside this process.

use super::provider::{LockFailure, LockFuture, LockHold, LockProvider, LockRequest};
use super::queue::LockQueue;

/// Locks among the tasks of this process: exact names, first come first served.
///
/// Clones exclude each other; two made with [`new`](Self::new) do not. They are what a
/// [`SqliteDb`](crate::SqliteDb) uses, where writers of other processes wait at BEGIN.
///
/// After a COMMIT whose outcome is unknown, its lock stays shut for 30 seconds.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use tx_runtime::{Error, LocalLocks, Lock, SqliteDb};
///
/// let db = SqliteDb::connect("sqlite::memory:").await?;
/// let imports = LocalLocks::new();
/// db.locked(Lock::key("nightly").on(&imports), async || {
///     // nobody else is in here
///     Ok::<_, Error>(())
/// })
/// .await?;
/// # Ok::<_, Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct LocalLocks {
    queue: LockQueue,
}

impl LocalLocks {
    /// Locks that nobody shares yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl LockProvider for LocalLocks {
    fn queue(&self) -> &LockQueue {
        &self.queue
    }

    fn acquire<'a>(
        &'a self,
        _: LockRequest<'a>,
    ) -> LockFuture<'a, Result<Option<Box<dyn LockHold>>, LockFailure>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
