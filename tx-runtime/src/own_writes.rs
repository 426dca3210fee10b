//! What a body has written to, so that it does not read it from a replica that lags behind.

use std::sync::{Arc, Mutex, PoisonError};

use crate::identity::DbId;

tokio::task_local! {
    static WRITTEN: Arc<Mutex<Vec<DbId>>>;
}

/// Runs `body`, in which a [`Db`](crate::Db) that has committed a write is no longer read from
/// its [`replica`](crate::DbBuilder::replica).
///
/// A replica lags behind: who saves and then looks may not find it. Put this around what one user
/// waits for, a request or a job. Until the first write of a `Db` its `read_only` transactions go
/// to the replica as always, and after it to the main pool, to the end of `body`. A statement in
/// autocommit counts as a write, since nobody knows what it does. What is written through
/// [`pool`](crate::Db::pool), or by a task that `body` spawns, is not seen. Inside of another
/// `read_your_writes`, both are one.
///
/// ```
/// # use tx_runtime::{Error, PgDb, TransactionOptions, read_your_writes};
/// # async fn rename(db: &PgDb, name: &str) -> Result<(), Error> { Ok(()) }
/// # async fn show(db: &PgDb) -> Result<String, Error> { Ok(String::new()) }
/// # async fn handler(db: &PgDb) -> Result<String, Error> {
/// read_your_writes(async || {
///     rename(db, "anna").await?; // commits
///     show(db).await // `read_only`, and finds the new name
/// })
/// .await
/// # }
/// ```
pub async fn read_your_writes<T>(body: impl AsyncFnOnce() -> T) -> T {
    let written = WRITTEN.try_with(Arc::clone).unwrap_or_default();
    let future = WRITTEN.sync_scope(Arc::clone(&written), || body());
    WRITTEN.scope(written, future).await
}

/// Something is about to be stored in `db`.
pub(crate) fn note(db: DbId) {
    // Outside of such a body nobody wants to know.
    let _ = WRITTEN.try_with(|written| {
        let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
        if !written.contains(&db) {
            written.push(db);
        }
    });
}

/// Whether the running body has stored something in `db`.
pub(crate) fn includes(db: DbId) -> bool {
    WRITTEN
        .try_with(|written| {
            let written = written.lock().unwrap_or_else(PoisonError::into_inner);
            written.contains(&db)
        })
        .unwrap_or(false)
}
