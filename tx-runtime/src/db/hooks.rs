//! Hooks as services register them.

use std::panic::Location;
use std::sync::Arc;

use super::Db;
use crate::aftermath;
use crate::chain::Physical as _;
use crate::dialect::Dialect;
use crate::error::Error;
use crate::hook::{Action, Completion, Hook, HookKind, HookResult};
use crate::site::Site;

/// Hooks of the current transaction.
///
/// They run in the order of their registration, or of [`hook_order`](Self::hook_order), and
/// once. Those of a savepoint that is rolled back are dropped with it, except `after_rollback`
/// and `after_completion`, which run at that moment (if the savepoint's
/// scope was dropped half-way: when a savepoint around it is rolled back, or at the
/// transaction's end). The `after_` hooks are awaited by the function that
/// owns the transaction, after its connection is back in the pool and its locks are open. They
/// belong to no scope: what they do in the database needs a transaction of its own. One that
/// fails or panics changes neither the result of the transaction nor whether the others run: see
/// [`hook_failures`](crate::hook_failures). If the owner is dropped or panics, they run in the
/// clean-up that [`drain`](Self::drain) waits for.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let db = tx_runtime::SqliteDb::connect("sqlite::memory:").await?;
/// # sqlx::query("create table orders (id integer)").execute(db.pool()).await?;
/// # async fn send_mail(_: i64) {}
/// db.transaction(async || {
///     sqlx::query("insert into orders values (1)").execute(&db).await?;
///     db.after_commit(async || send_mail(1).await)?;
///     Ok::<_, tx_runtime::Error>(())
/// })
/// .await?;
/// # Ok::<_, tx_runtime::Error>(())
/// # }).unwrap();
/// ```
///
/// A hook may outlive the function that registers it, so it owns what it uses:
///
/// ```compile_fail,E0597
/// # fn register(db: &tx_runtime::SqliteDb) -> Result<(), tx_runtime::Error> {
/// let order = String::from("17");
/// let borrowed = &order;
/// db.after_commit(async move || println!("{borrowed}"))
/// # }
/// ```
impl<DB: Dialect> Db<DB> {
    /// Runs `hook` inside the transaction, before its COMMIT.
    ///
    /// It runs only if the transaction would commit; if it fails, that is rolled back and its
    /// owner returns [`Error::BeforeCommit`]. Hooks that it registers run as well.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] outside a transaction, [`Error::TransactionClosed`] after its end.
    #[track_caller]
    pub fn before_commit<F, R, H>(&self, hook: F) -> Result<(), Error>
    where
        F: FnOnce() -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        self.hook_order(0).before_commit(hook)
    }

    /// Runs `hook` once the server has said COMMIT.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] outside a transaction, [`Error::TransactionClosed`] after its end.
    #[track_caller]
    pub fn after_commit<F, R, H>(&self, hook: F) -> Result<(), Error>
    where
        F: FnOnce() -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        self.hook_order(0).after_commit(hook)
    }

    /// Runs `hook` once the transaction, or the savepoint it is registered in, is rolled back.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] outside a transaction, [`Error::TransactionClosed`] after its end.
    #[track_caller]
    pub fn after_rollback<F, R, H>(&self, hook: F) -> Result<(), Error>
    where
        F: FnOnce() -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        self.hook_order(0).after_rollback(hook)
    }

    /// Runs `hook` once the transaction, or the savepoint it is registered in, has ended, after
    /// the hooks for that end, and tells it how.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] outside a transaction, [`Error::TransactionClosed`] after its end.
    #[track_caller]
    pub fn after_completion<F, R, H>(&self, hook: F) -> Result<(), Error>
    where
        F: FnOnce(Completion) -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        self.hook_order(0).after_completion(hook)
    }

    /// As [`after_commit`](Self::after_commit); outside a transaction, runs `hook` here and now.
    ///
    /// # Errors
    ///
    /// [`Error::Hook`] if it was run now and failed, [`Error::TransactionClosed`] after the end
    /// of the transaction.
    #[track_caller]
    pub fn after_commit_or_now<F, R, H>(
        &self,
        hook: F,
    ) -> impl Future<Output = Result<(), Error>> + Send
    where
        F: FnOnce() -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        self.hook_order(0).after_commit_or_now(hook)
    }

    /// As [`after_commit`](Self::after_commit), on a task of its own that the transaction's owner
    /// does not wait for.
    ///
    /// [`drain`](Self::drain) waits for it. Nobody is there to be told of its failure, which is a
    /// `tracing` event of level `ERROR` and nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] outside a transaction, [`Error::TransactionClosed`] after its end.
    #[track_caller]
    pub fn after_commit_spawn<F, R, H>(&self, hook: F) -> Result<(), Error>
    where
        F: FnOnce() -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        let order = self.hook_order(0);
        let (kind, caller) = (HookKind::AfterCommit, Location::caller());
        let hook = order.hook(kind, |_| hook(), caller);
        let cleanups = Arc::clone(self.source.cleanups());
        let starts = move |completion| {
            aftermath::spawn(hook, completion, &cleanups);
            std::future::ready(())
        };
        order.register(kind, starts, caller)
    }

    /// The same hooks at a place of the caller's choice: those of a lower order run first, and
    /// without it the order is 0.
    ///
    /// ```
    /// # fn register(db: &tx_runtime::SqliteDb) -> Result<(), tx_runtime::Error> {
    /// db.after_commit(async || println!("second"))?;
    /// db.hook_order(-1).after_commit(async || println!("first"))
    /// # }
    /// ```
    #[must_use]
    pub fn hook_order(&self, order: i32) -> HookOrder<'_, DB> {
        HookOrder { db: self, order }
    }
}

/// Registers hooks at a place among the others: see [`Db::hook_order`].
#[derive(Debug)]
pub struct HookOrder<'d, DB: Dialect> {
    db: &'d Db<DB>,
    order: i32,
}

impl<DB: Dialect> HookOrder<'_, DB> {
    /// As [`Db::before_commit`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn before_commit<F, R, H>(&self, hook: F) -> Result<(), Error>
    where
        F: FnOnce() -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        self.register(HookKind::BeforeCommit, |_| hook(), Location::caller())
    }

    /// As [`Db::after_commit`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn after_commit<F, R, H>(&self, hook: F) -> Result<(), Error>
    where
        F: FnOnce() -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        self.register(HookKind::AfterCommit, |_| hook(), Location::caller())
    }

    /// As [`Db::after_rollback`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn after_rollback<F, R, H>(&self, hook: F) -> Result<(), Error>
    where
        F: FnOnce() -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        self.register(HookKind::AfterRollback, |_| hook(), Location::caller())
    }

    /// As [`Db::after_completion`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn after_completion<F, R, H>(&self, hook: F) -> Result<(), Error>
    where
        F: FnOnce(Completion) -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        self.register(HookKind::AfterCompletion, hook, Location::caller())
    }

    /// As [`Db::after_commit_or_now`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn after_commit_or_now<F, R, H>(
        &self,
        hook: F,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<F, R, H, DB>
    where
        F: FnOnce() -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        let now = if self.db.is_in_transaction() {
            Err(self.after_commit(hook))
        } else {
            Ok(self.hook(HookKind::AfterCommit, |_| hook(), Location::caller()))
        };
        async move {
            match now {
                Err(registered) => registered,
                Ok(hook) => aftermath::run_outside(hook).await.map_err(Error::Hook),
            }
        }
    }

    fn register<F, R, H>(
        &self,
        kind: HookKind,
        action: F,
        location: &'static Location<'static>,
    ) -> Result<(), Error>
    where
        F: FnOnce(Completion) -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        let hook = self.hook(kind, action, location);
        let position = self.db.position(hook.site)?;
        position.level.check_open()?;
        let function = position.transaction.root().site();
        if position
            .transaction
            .hooks()
            .register(position.level, self.order, hook)
        {
            Ok(())
        } else {
            Err(Error::TransactionClosed { function })
        }
    }

    fn hook<F, R, H>(&self, kind: HookKind, action: F, location: &'static Location<'static>) -> Hook
    where
        F: FnOnce(Completion) -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        let name = match kind {
            HookKind::BeforeCommit => "before_commit",
            HookKind::AfterCommit => "after_commit",
            HookKind::AfterRollback => "after_rollback",
            HookKind::AfterCompletion => "after_completion",
        };
        let site = Site::at(name, location);
        Hook {
            kind,
            site,
            function: self.db.current_function().unwrap_or(Site::OUTSIDE),
            action: Action::of(action),
        }
    }
}
