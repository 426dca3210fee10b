//! The handle that services hold.

mod builder;
mod hooks;
mod values;

use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::{Connection, Pool, SqlSafeStr};

use crate::cause::{Cause, CauseKind, Doom};
use crate::chain;
use crate::connecting;
use crate::database_locks::DatabaseLocks;
use crate::dialect::{Concurrency, Dialect, Options};
use crate::error::Error;
use crate::held_lock::{self, HeldLock};
use crate::identity::DbId;
use crate::level::Level;
use crate::lock::{
    Bound, Lock, LockFailure, LockFuture, LockHold, LockProvider, LockQueue, LockRequest,
};
use crate::locked_options::LockedOptions;
use crate::options::TransactionOptions;
use crate::retry::Retry;
use crate::scope::{self, Attempts, Position};
use crate::site::Site;
use crate::source::Source;
use crate::surfaced::Surfaced;
use crate::target::Target;
use crate::transaction_info::TransactionInfo;
use crate::tx::Tx;

pub use builder::DbBuilder;
pub use hooks::HookOrder;

/// A connection that rested longer than this is tested before it is handed out.
const TRUSTED_REST: Duration = Duration::from_secs(30);

/// A pool whose statements run in the scope of the code that runs them.
///
/// Clones share everything and are cheap. `&Db` is a [`sqlx::Executor`]: inside a scope it
/// is the scope's transaction, outside of one it refuses, and [`pool`](Self::pool) is
/// autocommit on purpose.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use tx_runtime::SqliteDb;
///
/// let db = SqliteDb::connect("sqlite::memory:").await?;
/// sqlx::query("create table t (id integer primary key)").execute(db.pool()).await?;
///
/// db.transaction(async || {
///     sqlx::query("insert into t values (1)").execute(&db).await?;
///     sqlx::query("insert into t values (2)").execute(&db).await?;
///     Ok::<_, tx_runtime::Error>(())
/// })
/// .await?;
/// # Ok::<_, tx_runtime::Error>(())
/// # }).unwrap();
/// ```
pub struct Db<DB: Dialect> {
    source: Arc<Source<DB>>,
}

/// A [`Db`] on SQLite.
#[cfg(feature = "sqlite")]
pub type SqliteDb = Db<sqlx::Sqlite>;
/// A [`Db`] on PostgreSQL.
#[cfg(feature = "postgres")]
pub type PgDb = Db<sqlx::Postgres>;
/// A [`Db`] on MySQL or MariaDB.
#[cfg(feature = "mysql")]
pub type MySqlDb = Db<sqlx::MySql>;

impl<DB: Dialect> Db<DB> {
    /// A `Db` over any pool, with the defaults of [`builder`](Self::builder).
    #[must_use]
    pub fn new(pool: Pool<DB>) -> Self {
        Self::builder(pool).build()
    }

    /// A `Db` over any pool, with settings of its own.
    pub fn builder(pool: Pool<DB>) -> DbBuilder<DB> {
        DbBuilder::over(pool)
    }

    /// Connects to `url` with a pool that needs no ping before a transaction.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] if the URL is malformed or the database cannot be reached.
    #[track_caller]
    pub fn connect(url: &str) -> impl Future<Output = Result<Self, Error>> + Send {
        let site = Site::at("Db::connect", Location::caller());
        let options = url.parse::<Options<DB>>();
        async move {
            let options = options.map_err(|error| connecting::unreadable::<DB>(site, error))?;
            Self::open(site, PoolOptions::new(), options).await
        }
    }

    /// As [`connect`](Self::connect), with a size and timeouts of the caller's choice.
    ///
    /// sqlx tests every connection before handing it out, a round trip before each
    /// transaction. Here BEGIN is the test: a connection found dead by it is replaced
    /// before anything has run. Only connections that rested for 30 seconds or more are
    /// tested, for the sake of those who use [`pool`](Self::pool). The ping after each
    /// release stays: sqlx has no switch for it, and it is what flushes the connection.
    ///
    /// That test takes the place of a `before_acquire` and `test_before_acquire` of the caller's:
    /// sqlx's pool has room for one, and does not tell whether it has one. A pool with its own goes
    /// to [`new`](Self::new) or [`builder`](Self::builder).
    ///
    /// A SQLite database in memory gets a pool of one connection that is never closed,
    /// since it lives and dies with it.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] if the database cannot be reached: at once, or, where a server may be
    /// about to start, when the pool's `acquire_timeout` is over.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// use sqlx::pool::PoolOptions;
    /// use sqlx::sqlite::SqliteConnectOptions;
    /// use tx_runtime::{Error, Obstacle, SqliteDb};
    ///
    /// let options = SqliteConnectOptions::new().filename("no/such/file");
    /// let refused = SqliteDb::connect_with(PoolOptions::new(), options).await;
    /// assert!(matches!(
    ///     refused,
    ///     Err(Error::Connect { obstacle: Obstacle::NoFile, .. })
    /// ));
    /// # });
    /// ```
    #[track_caller]
    pub fn connect_with(
        pool: PoolOptions<DB>,
        options: Options<DB>,
    ) -> impl Future<Output = Result<Self, Error>> + Send {
        let site = Site::at("Db::connect_with", Location::caller());
        Self::open(site, pool, options)
    }

    async fn open(site: Site, pool: PoolOptions<DB>, options: Options<DB>) -> Result<Self, Error> {
        let pool = match DB::concurrency(&options) {
            Concurrency::Exclusive => pool
                .max_connections(1)
                .idle_timeout(None)
                .max_lifetime(None),
            Concurrency::Concurrent | Concurrency::SingleWriter => pool,
        };
        let pool = pool
            .test_before_acquire(false)
            .before_acquire(|connection, rest| {
                if rest.idle_for < TRUSTED_REST {
                    // It holds nothing, so its box is not allocated.
                    return Box::pin(poll_fn(|_| Poll::Ready(Ok(true))));
                }
                Box::pin(async { Ok(connection.ping().await.is_ok()) })
            })
            .connect_with(options.clone())
            .await;
        match pool {
            Ok(pool) => Ok(Self::new(pool)),
            Err(error) => Err(connecting::failed::<DB>(site, &options, error).await),
        }
    }

    /// The pool itself: autocommit, and no part of any scope.
    #[must_use]
    pub fn pool(&self) -> &Pool<DB> {
        self.source.pool()
    }

    /// Runs `body` in a `Required` scope.
    ///
    /// The error type needs `Debug`, so that an error that is swallowed further out can
    /// still be told to the owner of the transaction.
    ///
    /// # Errors
    ///
    /// The body's error, or an [`Error`] of the scope's own converted into it.
    #[track_caller]
    pub fn transaction<T, E, F>(&self, body: F) -> impl Future<Output = Result<T, E>>
    where
        E: From<Error> + fmt::Debug,
        F: AsyncFnOnce() -> Result<T, E>,
    {
        self.transaction_with(TransactionOptions::new(), body)
    }

    /// Runs `body` in a scope with `options`.
    ///
    /// # Errors
    ///
    /// The body's error, or an [`Error`] of the scope's own converted into it.
    pub async fn transaction_with<T, E, F>(
        &self,
        options: impl Into<LockedOptions<T, E>>,
        body: F,
    ) -> Result<T, E>
    where
        E: From<Error>,
        F: AsyncFnOnce() -> Result<T, E>,
    {
        let LockedOptions { options, lock } = options.into();
        let body = move || body();
        let source = &self.source;
        match lock {
            None => Surfaced::new(body, |body| scope::run(source, options, body)).await,
            Some(lock) => {
                let lock = self.bind(lock);
                let run = |body| scope::run_locked(source, lock, options, body);
                Surfaced::new(body, run).await
            }
        }
    }

    /// Runs `body` in a scope with `options`, and again after a conflict with others.
    ///
    /// Each attempt is a transaction of its own, so the body finds nothing of the one before.
    /// A lock among the options is taken once, and held from the first attempt to the last.
    /// When the attempts are used up, the last one's error is returned.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let db = tx_runtime::SqliteDb::connect("sqlite::memory:").await?;
    /// # sqlx::query("create table counter (n integer)").execute(db.pool()).await?;
    /// use tx_runtime::{Error, Isolation, Retry, TransactionOptions};
    ///
    /// let serializable = TransactionOptions::new().isolation(Isolation::Serializable);
    /// db.retrying(Retry::attempts(5), serializable, async || {
    ///     sqlx::query("update counter set n = n + 1").execute(&db).await?;
    ///     Ok::<_, Error>(())
    /// })
    /// .await?;
    /// # Ok::<_, Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`transaction_with`](Self::transaction_with);
    /// [`Error::RetryWithoutOwnership`] where the scope would join a transaction or have none.
    pub async fn retrying<T, E, F, B>(
        &self,
        retry: Retry,
        options: impl Into<LockedOptions<T, E>>,
        mut body: F,
    ) -> Result<T, E>
    where
        E: From<Error>,
        F: FnMut() -> B,
        B: Future<Output = Result<T, E>>,
    {
        let LockedOptions { options, lock } = options.into();
        let (function, rules) = (options.options.site, options.rules);
        let mut attempts = Attempts::new(&self.source, options, retry);
        let deadline = attempts.deadline();
        let mut all = async || {
            loop {
                let made =
                    Surfaced::new(&mut body, |body| attempts.make(async move || body().await));
                if let Some(result) = made.await {
                    return result;
                }
            }
        };
        let result = match lock {
            None => all().await,
            Some(lock) => {
                let lock = self.bind(lock);
                let describe = |error: &E| rules.describe(error);
                Box::pin(held_lock::locked(lock, function, deadline, describe, all)).await
            }
        };
        attempts.settle().await;
        result
    }

    /// Runs `body` under a savepoint of the current transaction, which is `read_only` if that is.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] outside a transaction; otherwise as
    /// [`transaction`](Self::transaction).
    #[track_caller]
    pub fn savepoint<T, E, F>(&self, body: F) -> impl Future<Output = Result<T, E>>
    where
        E: From<Error> + fmt::Debug,
        F: AsyncFnOnce() -> Result<T, E>,
    {
        let site = Site::at("savepoint", Location::caller());
        async move {
            let read_only = self.position(site)?.level.is_read_only();
            let nested = TransactionOptions::of(site).savepoint(read_only);
            self.transaction_with(nested, body).await
        }
    }

    /// Begins an explicit transaction; inside a scope, joins its transaction.
    ///
    /// Nothing is sent before the first statement.
    ///
    /// # Errors
    ///
    /// [`Error::Doomed`] if it would join a doomed transaction.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Tx<'static, DB>, Error>> + Send {
        self.begin_with(TransactionOptions::new().name("Db::begin"))
    }

    /// As [`begin`](Self::begin), with options.
    ///
    /// # Errors
    ///
    /// What the mode refuses: see [`Propagation`](crate::Propagation).
    pub fn begin_with(
        &self,
        options: TransactionOptions,
    ) -> impl Future<Output = Result<Tx<'static, DB>, Error>> + Send {
        let source = Arc::clone(&self.source);
        async move { Tx::enter(&source, &options) }
    }

    /// Runs `body` holding a lock: a name, or a [`Lock`] for the long form.
    ///
    /// Locks are exact names, first come first served in this process, and re-entrant along
    /// the call chain. A transaction that begins under the lock, or was already open and runs
    /// statements under it, keeps the lock until its own end, also when the caller is gone
    /// before that.
    ///
    /// # Errors
    ///
    /// [`Error::LockTimeout`] if it was not free in time, [`Error::LockUnavailable`] if its
    /// provider failed, [`Error::LockKey`] for a name that cannot be one; each converted into
    /// the body's error type.
    #[track_caller]
    pub fn locked<T, E, F>(
        &self,
        lock: impl Into<Lock>,
        body: F,
    ) -> impl Future<Output = Result<T, E>>
    where
        E: From<Error> + fmt::Debug,
        F: AsyncFnOnce() -> Result<T, E>,
    {
        let site = Site::at("locked", Location::caller());
        let lock = self.bind(lock.into());
        let describe = |error: &E| format!("{error:?}");
        let run = move |body| held_lock::locked(lock, site, None, describe, body);
        Surfaced::new(move || body(), run)
    }

    /// Takes a lock and holds it in a variable.
    ///
    /// Inside a scope, what the scope's transaction does meanwhile is done under the lock, as in
    /// [`locked`](Self::locked).
    ///
    /// # Errors
    ///
    /// As [`locked`](Self::locked).
    #[track_caller]
    pub fn lock(
        &self,
        lock: impl Into<Lock>,
    ) -> impl Future<Output = Result<HeldLock<DB>, Error>> + Send {
        let site = Site::at("lock", Location::caller());
        let (lock, source) = (self.bind(lock.into()), Arc::clone(&self.source));
        async move { HeldLock::take(source, lock, site).await }
    }

    /// The locks that the database keeps, whatever this `Db` uses by default.
    #[must_use]
    pub fn database_locks(&self) -> DatabaseLocks<DB> {
        DatabaseLocks::of(&self.source)
    }

    /// Creates the table `tx_fence` if there is none: locks with fencing tokens need it in each
    /// database that they protect. [`fence_table`](Self::fence_table) has it for migrations.
    ///
    /// # Errors
    ///
    /// The database's own.
    pub async fn create_fence_table(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.pool().acquire().await?;
        DB::control(&mut connection, DB::FENCE_TABLE.into_sql_str()).await
    }

    /// The statement that creates the table of fencing tokens.
    #[must_use]
    pub fn fence_table() -> &'static str {
        DB::FENCE_TABLE
    }

    /// Has the current scope roll back whatever its body returns.
    ///
    /// An `Ok` after it becomes [`Error::RolledBack`] with this reason, or
    /// [`Error::UnexpectedRollback`] at the owner if a joined function called it. An error, and a
    /// value that `rollback_if` rejects, say so themselves and are returned.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] outside a transaction, [`Error::TransactionClosed`] after the
    /// end of the scope.
    #[track_caller]
    pub fn set_rollback_only(&self, reason: impl Into<String>) -> Result<(), Error> {
        let position = self.position(Site::at("set_rollback_only", Location::caller()))?;
        position.level.check_open()?;
        let cause = Cause::of_function(CauseKind::RollbackOnly, reason);
        position.level.doom(Doom::new(position.function, cause));
        Ok(())
    }

    /// Whether the current scope can only roll back.
    #[must_use]
    pub fn is_rollback_only(&self) -> bool {
        self.current_level()
            .is_some_and(|level| level.verdict().is_some())
    }

    /// Whether the database refuses writes in the current scope, as `read_only` has asked.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.current_level()
            .is_some_and(|level| level.is_read_only())
    }

    /// The number of the current transaction's revision in the history, if a change was recorded
    /// by now.
    ///
    /// The first change to an audited table makes it, whoever makes the change; it goes with its
    /// transaction, or with the savepoint in which it was made. Asking costs a round trip once
    /// the transaction has begun.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] outside a transaction, [`Error::Doomed`] in one that can only roll
    /// back, and the database's own.
    #[track_caller]
    pub fn revision(&self) -> impl Future<Output = Result<Option<i64>, Error>> + Send {
        let position = self.position(Site::at("revision", Location::caller()));
        async move {
            let Position {
                transaction,
                level,
                function,
                ..
            } = position?;
            transaction.revision(&level, function).await
        }
    }

    /// Whether statements through this `Db` run in a transaction here and now.
    #[must_use]
    pub fn is_in_transaction(&self) -> bool {
        self.current_level().is_some()
    }

    /// The transaction that statements through this `Db` run in here and now.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] if there is none.
    #[track_caller]
    pub fn transaction_info(&self) -> Result<TransactionInfo, Error> {
        let position = self.position(Site::at("transaction_info", Location::caller()))?;
        Ok(position.transaction.info())
    }

    /// Waits for the clean-ups that dropped scopes and statements have started, for hooks on tasks of their own,
    /// and for the opening of locks.
    ///
    /// In such a hook it waits for all but those that wait themselves. Scopes that somebody runs are
    /// not waited for.
    pub async fn drain(&self) {
        self.source.cleanups().drain().await;
        self.queue().drain().await;
    }

    /// Who keeps the locks that name no provider.
    fn locks(&self) -> Arc<dyn LockProvider> {
        match &self.source.settings().locks {
            Some(locks) => Arc::clone(locks),
            None => Arc::new(self.database_locks()),
        }
    }

    pub(crate) fn bind(&self, lock: Lock) -> Bound {
        lock.bind(|| self.locks())
    }

    pub(crate) fn source(&self) -> &Arc<Source<DB>> {
        &self.source
    }

    pub(crate) fn target(&self) -> Target<DB> {
        chain::current(|frame| Target::of(&self.source, frame))
    }

    pub(crate) fn position(&self, function: Site) -> Result<Position<DB>, Error> {
        self.here().ok_or(Error::NoTransaction { function })
    }

    pub(crate) fn current_function(&self) -> Option<Site> {
        self.here().map(|position| position.function)
    }

    fn current_level(&self) -> Option<Arc<Level>> {
        self.here().map(|position| position.level)
    }

    /// Where a statement would run in a transaction; asking commits nobody to anything.
    fn here(&self) -> Option<Position<DB>> {
        chain::current(|frame| Position::nearest(&self.source, frame))
    }
}

/// A `Db` keeps locks with its own provider.
impl<DB: Dialect> LockProvider for Db<DB> {
    fn queue(&self) -> &LockQueue {
        match &self.source.settings().locks {
            Some(locks) => locks.queue(),
            None => self.source.locks(),
        }
    }

    fn acquire<'a>(
        &'a self,
        request: LockRequest<'a>,
    ) -> LockFuture<'a, Result<Option<Box<dyn LockHold>>, LockFailure>> {
        Box::pin(async move { self.locks().acquire(request).await })
    }

    fn database(&self) -> Option<DbId> {
        self.locks().database()
    }

    fn keeps_line(&self) -> bool {
        self.locks().keeps_line()
    }
}

impl<DB: Dialect> Clone for Db<DB> {
    fn clone(&self) -> Self {
        Self {
            source: Arc::clone(&self.source),
        }
    }
}

impl<DB: Dialect> fmt::Debug for Db<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db")
            .field("database", &DB::NAME)
            .field("id", &self.source.id())
            .finish_non_exhaustive()
    }
}

impl<DB: Dialect> From<Pool<DB>> for Db<DB> {
    fn from(pool: Pool<DB>) -> Self {
        Self::new(pool)
    }
}
