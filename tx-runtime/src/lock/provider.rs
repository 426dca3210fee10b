//! What keeps locks beyond this process: the trait that all of them implement.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::queue::LockQueue;
use crate::identity::DbId;
use crate::site::Site;

/// What the methods of providers return.
pub type LockFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps named locks: in this process, in a database, in Redis, in a service of yours.
///
/// A provider is a cheap handle; its clones share one [`LockQueue`], by which the crate knows
/// that they are one. Whoever comes to [`acquire`](Self::acquire) has won its keys inside the
/// process already.
#[diagnostic::on_unimplemented(
    message = "`{Self}` keeps no locks",
    label = "not a `tx_runtime::LockProvider`",
    note = "a `Db` is one, and so are `LocalLocks` and `DatabaseLocks`; in an attribute, write `on = *locks` for a reference to one"
)]
pub trait LockProvider: fmt::Debug + Send + Sync + 'static {
    /// The waiting room before this provider.
    fn queue(&self) -> &LockQueue;

    /// Takes all of the request's keys or none. `None` says that nothing is kept outside of
    /// the queue.
    ///
    /// The future may be dropped at any point; what it had taken must then come free by
    /// itself.
    fn acquire<'a>(
        &'a self,
        request: LockRequest<'a>,
    ) -> LockFuture<'a, Result<Option<Box<dyn LockHold>>, LockFailure>>;

    /// The `Db` on whose connections the locks are kept, if they are.
    #[doc(hidden)]
    fn database(&self) -> Option<DbId> {
        None
    }

    /// Whether callers come to [`acquire`](Self::acquire) at once, without a turn in the process:
    /// the provider has a line of its own, in which they can be seen.
    #[doc(hidden)]
    fn keeps_line(&self) -> bool {
        false
    }
}

impl<P: LockProvider + ?Sized> LockProvider for Arc<P> {
    fn queue(&self) -> &LockQueue {
        (**self).queue()
    }

    fn acquire<'a>(
        &'a self,
        request: LockRequest<'a>,
    ) -> LockFuture<'a, Result<Option<Box<dyn LockHold>>, LockFailure>> {
        (**self).acquire(request)
    }

    fn database(&self) -> Option<DbId> {
        (**self).database()
    }

    fn keeps_line(&self) -> bool {
        (**self).keeps_line()
    }
}

/// What a provider is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LockRequest<'a> {
    /// Exact names, sorted, each once.
    pub keys: &'a [Arc<str>],
    /// How long to wait for all of them together; zero for a single try.
    pub wait: Duration,
    /// Who asks, for those who see the lock from outside.
    pub function: Site,
    /// What it asks for the lock for, if it says so.
    pub label: Option<&'a str>,
}

/// Locks that a provider keeps for one holder.
///
/// Dropped without [`open`](Self::open), it must come free by itself some time: with its
/// lease, or with its session.
pub trait LockHold: fmt::Debug + Send + Sync + 'static {
    /// Whether the locks are still held. Asked before every COMMIT under them.
    fn check(&self) -> LockFuture<'_, Result<(), LockFailure>>;

    /// Opens the locks; called once, after everything done under them has ended.
    fn open(self: Box<Self>) -> LockFuture<'static, Result<(), LockFailure>>;

    /// Leaves the locks to their lease or session, because the outcome of a COMMIT under them
    /// is unknown. Returns when they may be free.
    fn leave(self: Box<Self>) -> LockFuture<'static, ()>;

    /// Tells how what was done under the locks has ended, before [`open`](Self::open): for
    /// providers that keep a record of it.
    fn conclude(&self, conclusion: Conclusion) {
        let _ = conclusion;
    }

    /// SQL for a transaction of `db` to send with its COMMIT, which fails unless the locks are
    /// still held, and keeps them held until it has committed. Such a transaction needs neither
    /// fencing tokens nor [`check`](Self::check).
    ///
    /// For [`Share::Whole`] it also records that what was done under the locks is done; if the
    /// transaction commits, [`concluded`](Self::concluded) is called.
    #[doc(hidden)]
    fn proof(&self, db: DbId, share: Share) -> Option<String> {
        let _ = (db, share);
        None
    }

    /// The record of the conclusion has been committed.
    #[doc(hidden)]
    fn concluded(&self) {}

    /// Numbers for the protected database to check, one for each key of a lease.
    fn fences(&self) -> Vec<Fence> {
        Vec::new()
    }

    /// The database has seen `token` for a key of these; later ones must be greater.
    fn outrun(&self, token: i64) {
        let _ = token;
    }

    /// Whether the locks keep a connection of `db` that nobody uses.
    #[doc(hidden)]
    fn keeps_connection(&self, db: DbId) -> bool {
        let _ = db;
        false
    }

    /// Resolves when the connection of `db` that the locks live on has come back from whom it
    /// was lent to; `None` if they live on no such connection.
    #[doc(hidden)]
    fn returned(&self, db: DbId) -> Option<LockFuture<'_, ()>> {
        let _ = db;
        None
    }

    /// Lends the connection that the locks live on to a transaction of `db` under them.
    #[doc(hidden)]
    fn lend(&self, db: DbId) -> Option<Box<dyn Any + Send>> {
        let _ = db;
        None
    }
}

/// How what was done under a lock has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conclusion {
    /// It is done. What it has stored is stored for certain.
    Done,
    /// It has failed or panicked, in words; or it was rolled back.
    Failed(String),
    /// Its future was dropped before it had ended.
    Dropped,
}

/// Which share of what is done under a lock a transaction is.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// It only reads.
    Reads,
    /// There is more to come after it.
    Part,
    /// All of it.
    Whole,
}

/// A fencing token: it grows with every acquisition of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The lock's name.
    pub key: Arc<str>,
    /// The number.
    pub token: i64,
}

/// Why a lock was not given, or is not held any more.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockFailure {
    /// Somebody else had it for the whole wait.
    Busy {
        /// Who, as far as the provider can tell.
        holder: Option<String>,
    },
    /// It was held and is so no longer: its lease ran out, or its session ended.
    Lost,
    /// The provider itself failed.
    Failed(Box<dyn StdError + Send + Sync>),
}

impl LockFailure {
    /// A failure of the provider itself.
    pub fn failed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }
}
