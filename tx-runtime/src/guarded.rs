//! What can only be reached under a lock.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::held_lock::Hold;
use crate::lock::{Conclusion, Lock, LockProvider};
use crate::site::Site;

/// How often [`Permit::lost`] asks.
const LOOK: Duration = Duration::from_secs(1);

/// A client that can only be reached by whoever holds its lock.
///
/// The lock is named once, where the client is made; no call can name another one, and none can
/// leave it out: the client comes out of a [`Permit`], and a permit comes out of the lock. What is
/// reached through it cannot be kept beyond the lock: the compiler refuses that. (A client that is
/// `Clone` can be cloned out of it. Wrap it in a type that is not.)
///
/// No transaction is open while the client is used, unless the caller opens one. Keep it so: a
/// call to the outside can take long, and what it has done there is not undone by a rollback.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use tx_runtime::{Error, Guarded, SqliteDb, TicketLocks};
///
/// struct ReportApi { /* a session with the service outside */ }
///
/// impl ReportApi {
///     async fn create(&self, day: u32) {}
///     async fn delete_all(&self) {}
/// }
///
/// let db = SqliteDb::connect("sqlite::memory:").await?;
/// let tickets = TicketLocks::new(&db);
/// tickets.create_tables().await?;
///
/// let account = 7;
/// let api = Guarded::new(ReportApi {}, &tickets, format!("ad-account:{account}"));
/// api.with("nightly import", async |permit| {
///     for day in 1..=3 {
///         // Between two calls that take long.
///         permit.ensure_held().await?;
///         permit.client().create(day).await;
///     }
///     permit.client().delete_all().await;
///     Ok::<_, Error>(())
/// })
/// .await?;
/// # Ok::<_, Error>(())
/// # }).unwrap();
/// ```
pub struct Guarded<C> {
    client: C,
    lock: Lock,
    locks: Arc<dyn LockProvider>,
}

impl<C> Guarded<C> {
    /// `client` behind `lock`, which `locks` keep, whatever the lock says itself.
    pub fn new<P: LockProvider + Clone>(client: C, locks: &P, lock: impl Into<Lock>) -> Self {
        Self {
            client,
            lock: lock.into().on(locks),
            locks: Arc::new(locks.clone()),
        }
    }

    /// Waits for the lock. `label`: what it is wanted for, as [`Lock::label`].
    ///
    /// # Errors
    ///
    /// As [`Db::locked`](crate::Db::locked).
    #[track_caller]
    pub fn permit(
        &self,
        label: impl Into<String>,
    ) -> impl Future<Output = Result<Permit<'_, C>, Error>> {
        let function = Site::at("permit", Location::caller());
        let label = label.into();
        async move {
            let permit = self.take(label, function).await?;
            permit.hold.keep_in_variable();
            Ok(permit)
        }
    }

    /// Waits for the lock and runs `body` under it. Functions and transactions that it calls are
    /// under the lock as well.
    ///
    /// # Errors
    ///
    /// The body's own, and as [`permit`](Self::permit).
    #[track_caller]
    pub fn with<T, E, F>(
        &self,
        label: impl Into<String>,
        body: F,
    ) -> impl Future<Output = Result<T, E>>
    where
        E: From<Error> + fmt::Debug,
        F: for<'p> AsyncFnOnce(&'p Permit<'p, C>) -> Result<T, E>,
    {
        let function = Site::at("with", Location::caller());
        let label = label.into();
        async move {
            let permit = self.take(label, function).await?;
            let result = permit.within(async || body(&permit).await).await;
            let conclusion = Conclusion::of(&result, |error| format!("{error:?}"));
            // What was done is done; a lock that cannot be opened is on record.
            let _ = permit.hold.end(conclusion).await;
            result
        }
    }

    async fn take(&self, label: String, function: Site) -> Result<Permit<'_, C>, Error> {
        let lock = self
            .lock
            .clone()
            .label(label)
            .bind(|| Arc::clone(&self.locks));
        Ok(Permit {
            client: &self.client,
            hold: Hold::take(lock, function).await?,
        })
    }
}

impl<C> fmt::Debug for Guarded<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("lock", &self.lock)
            .finish_non_exhaustive()
    }
}

/// The proof that the lock of a [`Guarded`] is held. Dropped, it opens the lock in the background.
#[must_use = "the lock opens when its permit is dropped"]
pub struct Permit<'g, C> {
    client: &'g C,
    hold: Hold,
}

impl<C> Permit<'_, C> {
    /// The client, for as long as the permit is there.
    #[must_use]
    pub fn client(&self) -> &C {
        self.client
    }

    /// Asks whether the lock is still held: before each call to the outside that must not be made
    /// beside somebody else's.
    ///
    /// The answer is of the moment of asking. A call that takes longer than the lease can still
    /// outlive the lock; give it a time limit well below the lease.
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`] if it is not, [`Error::LockUnavailable`] if that cannot be told.
    pub async fn ensure_held(&self) -> Result<(), Error> {
        self.hold.check().await
    }

    /// Resolves once the lock is not held any more, or cannot be shown to be: to be awaited beside a
    /// long call, with `select!`. It asks every second.
    pub async fn lost(&self) -> Error {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(lost) = self.ensure_held().await {
                return lost;
            }
        }
    }

    /// Runs `body` with the lock in its call chain: its transactions are under the lock.
    pub async fn within<T>(&self, body: impl AsyncFnOnce() -> T) -> T {
        self.hold.within(body).await
    }

    /// What the permit was for is done: opens the lock, and returns when it is open.
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`] if it had not been held to the end, [`Error::LockUnavailable`] if its
    /// provider failed; it opens with its lease then.
    pub async fn release(self) -> Result<(), Error> {
        self.hold.end(Conclusion::Done).await
    }

    /// As [`release`](Self::release), for what has failed.
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release).
    pub async fn release_failed(self, error: impl fmt::Display) -> Result<(), Error> {
        self.hold.end(Conclusion::Failed(error.to_string())).await
    }
}

impl<C> fmt::Debug for Permit<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
