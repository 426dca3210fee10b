//! The explicit transaction: a scope without a closure, ended by hand.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::aftermath;
use crate::chain::{self, Frame};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::options::TransactionOptions;
use crate::scope::{Intent, Meant, Position, Scope};
use crate::source::Source;
use crate::target::Target;

/// A transaction held in a variable; dropped without [`commit`](Self::commit), it rolls back.
///
/// `&Tx` is a [`sqlx::Executor`]. Code that runs its statements through the `Db` joins this
/// transaction inside [`within`](Self::within).
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let db = tx_runtime::SqliteDb::connect("sqlite::memory:").await?;
/// # sqlx::query("create table t (id integer)").execute(db.pool()).await?;
/// let mut tx = db.begin().await?;
/// sqlx::query("insert into t values (1)").execute(&tx).await?;
///
/// let inner = tx.begin().await?; // a savepoint
/// sqlx::query("insert into t values (2)").execute(&inner).await?;
/// inner.rollback().await?;
///
/// tx.commit().await?;
/// # let rows: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(db.pool()).await?;
/// # assert_eq!(rows, 1);
/// # Ok::<_, tx_runtime::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "a transaction rolls back when dropped; call `commit`"]
pub struct Tx<'t, DB: Dialect> {
    source: Arc<Source<DB>>,
    scope: Scope<DB>,
    /// The outer transaction cannot be used or ended while this one lives.
    outer: PhantomData<&'t mut ()>,
}

impl<DB: Dialect> Tx<'static, DB> {
    pub(crate) fn enter(
        source: &Arc<Source<DB>>,
        options: &TransactionOptions,
    ) -> Result<Self, Error> {
        Self::over(source, options)
    }
}

impl<DB: Dialect> Tx<'_, DB> {
    pub(crate) fn over(
        source: &Arc<Source<DB>>,
        options: &TransactionOptions,
    ) -> Result<Self, Error> {
        Ok(Self {
            source: Arc::clone(source),
            scope: Scope::enter(source, options)?,
            outer: PhantomData,
        })
    }

    /// A savepoint in this transaction, `read_only` if that is.
    ///
    /// # Errors
    ///
    /// If this transaction is doomed.
    #[track_caller]
    pub fn begin(&mut self) -> impl Future<Output = Result<Tx<'_, DB>, Error>> + Send {
        let options = TransactionOptions::new().name("Tx::begin");
        let read_only = self.scope.is_read_only();
        self.begin_with(options.savepoint(read_only))
    }

    /// A further scope over this transaction, in the mode that `options` ask for.
    ///
    /// # Errors
    ///
    /// As [`Db::begin_with`](crate::Db::begin_with).
    pub async fn begin_with(&mut self, options: TransactionOptions) -> Result<Tx<'_, DB>, Error> {
        chain::within(&self.here(), async || Tx::over(&self.source, &options)).await
    }

    /// Runs `body` with this transaction as the scope that the `Db` finds.
    ///
    /// The scopes of other `Db`s, and locks, stay as they are where this is called.
    pub async fn within<T>(&self, body: impl AsyncFnOnce() -> T) -> T {
        let here = self.here();
        self.scope.cover(chain::within(&here, body)).await
    }

    /// Commits, or gives a savepoint's work to the transaction around it.
    ///
    /// # Errors
    ///
    /// [`Error::UnexpectedRollback`] if a statement or participant had failed,
    /// [`Error::Commit`], [`Error::EndedEarly`] or [`Error::CommitUnknown`] by the server's
    /// answer. `Ok` means that the server said COMMIT, or RELEASE for a savepoint. A `Tx` that
    /// joined commits with the owner of the transaction; it gets [`Error::Doomed`] if that can
    /// only roll back by now.
    pub async fn commit(mut self) -> Result<(), Error> {
        let joined = self.scope.joined_level();
        let ended = self.scope.leave(Intent::Keep(Meant::ByHand)).await;
        aftermath::settle(self.scope.aftermath()).await;
        ended?;
        joined.map_or(Ok(()), |level| level.check(self.scope.site()))
    }

    /// Rolls back and returns when that is certain.
    ///
    /// A `Tx` that joined a transaction dooms it; one over a savepoint undoes its own work.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] if the mode gave it none (`Supports`, `NotSupported` or
    /// `Never`): its statements were stored one by one. [`Error::TransactionClosed`] if it had
    /// joined a transaction that has ended. A connection on which ROLLBACK fails
    /// is closed, and the server rolls back.
    pub async fn rollback(mut self) -> Result<(), Error> {
        if !self.scope.has_transaction() {
            return Err(Error::NoTransaction {
                function: self.scope.site(),
            });
        }
        if let Some(joined) = self.scope.joined_level() {
            joined.check_open()?;
        }
        let reason = "it was rolled back by hand".to_owned();
        let ended = self.scope.leave(Intent::GiveUp(reason)).await;
        aftermath::settle(self.scope.aftermath()).await;
        ended
    }

    pub(crate) fn target(&self) -> Target<DB> {
        Target::of(&self.source, Some(&self.here()))
    }

    /// This transaction's scope as the innermost entry of the chain that uses it now.
    ///
    /// What that chain has locked protects what is done here, so the locks go over to the
    /// transaction, which may have begun before they were taken.
    fn here(&self) -> Arc<Frame> {
        let frame = self.scope.frame().again();
        if let Some(position) = Position::nearest(&self.source, Some(&frame))
            && position.level.check_open().is_ok()
        {
            position.transaction.adopt(&chain::locks());
        }
        frame
    }
}

impl<DB: Dialect> fmt::Debug for Tx<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx")
            .field("site", &self.scope.site())
            .finish_non_exhaustive()
    }
}
