//! Locks held around a body, or in a variable.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use crate::chain::{self, Frame, acquire};
use crate::deadline::{self, Deadline};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::lock::{Bound, Conclusion, Doing, Held, Wanted};
use crate::options::TransactionOptions;
use crate::site::Site;
use crate::source::Source;
use crate::tx::Tx;

/// Runs `body` under `lock`, as far as the chain does not hold it already. `deadline`: how long
/// the lock is waited for, if that is not as long as the lock says. `describe` puts an error of
/// the body into words.
pub(crate) async fn locked<T, E, F>(
    lock: Bound,
    function: Site,
    deadline: Option<Deadline>,
    describe: impl FnOnce(&E) -> String,
    body: F,
) -> Result<T, E>
where
    E: From<Error>,
    F: AsyncFnOnce() -> Result<T, E>,
{
    let hold = deadline::race(deadline, pin!(Hold::take(lock, function))).await;
    let hold = hold.unwrap_or_else(|late| Err(Error::timed_out(function, &late.doom())));
    let hold = hold?;
    let result = hold.within(body).await;
    // What was done under it is done; a lock that cannot be opened is on record.
    let _ = hold.end(Conclusion::of(&result, describe)).await;
    result
}

/// Locks that somebody holds by hand. Dropped, they open in the background.
pub(crate) struct Hold {
    function: Site,
    taken: Option<Doing>,
    /// What the chain that asked for them held already, which may open its own hold on it earlier.
    around: Vec<Arc<Held>>,
}

impl Hold {
    pub(crate) async fn take(lock: Bound, function: Site) -> Result<Self, Error> {
        let wanted = lock.wanted(function, chain::has_locked)?;
        let taken = acquire(wanted, Wanted::take).await?;
        Ok(Self {
            function,
            taken: taken.map(|(_, held)| Doing::under(held)),
            around: chain::held_already(&lock),
        })
    }

    /// Has the locks count for what the calling scope does beside them.
    pub(crate) fn keep_in_variable(&self) {
        if let Some(held) = self.taken.as_ref().and_then(Doing::held) {
            chain::keep_in_variable(held);
        }
    }

    /// Runs `body` with the locks in its call chain.
    pub(crate) async fn within<T>(&self, body: impl AsyncFnOnce() -> T) -> T {
        match self.frame() {
            Some(frame) => chain::within(&frame, body).await,
            None => body().await,
        }
    }

    /// The chain of the running future with the locks in it.
    fn frame(&self) -> Option<Arc<Frame>> {
        Frame::locked(self.all().cloned())
    }

    /// Refuses to go on without one of the locks.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        for held in self.all() {
            held.check(self.function).await?;
        }
        Ok(())
    }

    /// Opens the locks, as far as they are not held further out.
    pub(crate) async fn end(self, conclusion: Conclusion) -> Result<(), Error> {
        let mut opened = Ok(());
        let taken = self.taken.and_then(|taken| taken.ended(conclusion));
        for held in taken.into_iter().chain(self.around) {
            let result = held.open(self.function).await;
            opened = opened.and(result);
        }
        opened
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Held>> {
        let taken = self.taken.as_ref().and_then(Doing::held);
        self.around.iter().chain(taken)
    }
}

/// A lock held in a variable; dropped, it opens in the background.
///
/// It cannot be released while a transaction begun under it is open: the compiler refuses
/// that. A transaction that outlives its lock in another way, because it was dropped half-way
/// and is still being rolled back, keeps the lock shut until its end. So does the transaction of
/// the scope in which the lock is taken, if a statement runs in it while the lock is held: what
/// that wrote is not committed before.
/// A [`Tx`] beside the lock that was not begun from it, outside of any scope, is not known to
/// rely on it.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let db = tx_runtime::SqliteDb::connect("sqlite::memory:").await?;
/// # sqlx::query("create table t (id integer)").execute(db.pool()).await?;
/// let held = db.lock("import").await?;
/// let tx = held.begin().await?;
/// sqlx::query("insert into t values (1)").execute(&tx).await?;
/// tx.commit().await?;
/// held.release().await?;
/// # Ok::<_, tx_runtime::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "a lock opens when dropped"]
pub struct HeldLock<DB: Dialect> {
    source: Arc<Source<DB>>,
    hold: Hold,
}

impl<DB: Dialect> HeldLock<DB> {
    pub(crate) async fn take(
        source: Arc<Source<DB>>,
        lock: Bound,
        function: Site,
    ) -> Result<Self, Error> {
        let hold = Hold::take(lock, function).await?;
        hold.keep_in_variable();
        Ok(Self { source, hold })
    }

    /// Begins a transaction under the lock; inside a scope, joins its transaction.
    ///
    /// # Errors
    ///
    /// [`Error::Doomed`] if it would join a doomed transaction.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Tx<'_, DB>, Error>> + Send {
        let options = TransactionOptions::new().name("HeldLock::begin");
        std::future::ready(self.enter(&options))
    }

    /// As [`begin`](Self::begin), with options; `Isolated` is allowed here.
    ///
    /// # Errors
    ///
    /// What the mode refuses: see [`Propagation`](crate::Propagation).
    #[expect(
        clippy::unused_async,
        reason = "the other ways to begin are async as well"
    )]
    pub async fn begin_with(&self, options: TransactionOptions) -> Result<Tx<'_, DB>, Error> {
        self.enter(&options)
    }

    fn enter(&self, options: &TransactionOptions) -> Result<Tx<'_, DB>, Error> {
        match self.hold.frame() {
            Some(frame) => chain::call_within(&frame, || Tx::over(&self.source, options)),
            None => Tx::over(&self.source, options),
        }
    }

    /// Runs `body` with the lock in its call chain, so that `Isolated` functions can be called.
    pub async fn within<T>(&self, body: impl AsyncFnOnce() -> T) -> T {
        self.hold.within(body).await
    }

    /// Opens the lock, and returns when it is open.
    ///
    /// Where the chain that took it held the lock already, it stays shut until that holder
    /// opens it; where a transaction around it relies on it, until that has ended.
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`] if it had not been held to the end, [`Error::LockUnavailable`] if
    /// its provider failed; it opens with its lease then.
    pub async fn release(self) -> Result<(), Error> {
        self.hold.end(Conclusion::Done).await
    }

    /// As [`release`](Self::release), and says that what was done under the lock has failed: for
    /// providers that keep a record of it, such as [`TicketLocks`](crate::TicketLocks).
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release).
    pub async fn release_failed(self, error: impl fmt::Display) -> Result<(), Error> {
        self.hold.end(Conclusion::Failed(error.to_string())).await
    }
}

impl<DB: Dialect> fmt::Debug for HeldLock<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldLock")
            .field("function", &self.hold.function)
            .finish_non_exhaustive()
    }
}
