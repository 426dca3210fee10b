//! Settings of a `Db` to be.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Pool;

use super::Db;
use crate::dialect::Dialect;
use crate::listener::{TransactionEvent, Watch};
use crate::lock::LockProvider;
use crate::options::Isolation;
use crate::source::{Settings, Source};

/// Settings of a [`Db`] to be.
#[must_use = "call `build`"]
#[derive(Debug)]
pub struct DbBuilder<DB: Dialect> {
    pool: Pool<DB>,
    replica: Option<Pool<DB>>,
    settings: Settings,
}

impl<DB: Dialect> DbBuilder<DB> {
    pub(super) fn over(pool: Pool<DB>) -> Self {
        Self {
            pool,
            replica: None,
            settings: Settings::default(),
        }
    }

    /// Lets statements outside of any scope run in autocommit, for a gradual migration.
    ///
    /// By default they are refused: a forgotten annotation is the mistake most often made.
    pub fn autocommit_outside_scopes(mut self, allow: bool) -> Self {
        self.settings.autocommit_outside_scopes = allow;
        self
    }

    /// Lets a scope commit although a statement of it failed and the body went on.
    ///
    /// Only SQLite and MySQL can; PostgreSQL refuses everything after a failed statement,
    /// and the switch has no effect there. By default all three behave like PostgreSQL, so
    /// that a service tested on one holds on another.
    pub fn tolerate_failed_statements(mut self, tolerate: bool) -> Self {
        self.settings.tolerate_failed_statements = tolerate;
        self
    }

    /// Tells a function that has joined a doomed transaction so at its own end: instead of its
    /// `Ok` it returns [`Error::Doomed`](crate::Error::Doomed). By default only the owner is told.
    pub fn fail_early(mut self, early: bool) -> Self {
        self.settings.fail_early = early;
        self
    }

    /// How many transactions of this `Db` one call chain has open at once; 2 by default.
    ///
    /// As many connections less one are kept free for chains that already hold one, so that
    /// `RequiresNew` inside `Required` always finds its connection; by default, a pool of ten
    /// has nine top-level transactions open at most. A deeper chain raises the number by
    /// itself, but the first time it may be refused. More than the pool's size counts as its
    /// size.
    pub fn nesting_depth(mut self, depth: usize) -> Self {
        self.settings.nesting_depth = depth;
        self
    }

    /// Who keeps the locks that name no provider, instead of the database itself.
    pub fn locks<P: LockProvider>(mut self, provider: P) -> Self {
        self.settings.locks = Some(Arc::new(provider));
        self
    }

    /// The isolation level of scopes that ask for none.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.settings.isolation = Some(isolation);
        self
    }

    /// The time of scopes that begin a transaction and ask for none: see
    /// [`TransactionOptions::timeout`](crate::TransactionOptions::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Has `listener` told of every physical transaction of this `Db`, and of its savepoints,
    /// before and after it begins, commits and rolls back, and when it is suspended.
    ///
    /// It hears of messages that are sent: nothing of scopes that join, of savepoints that no
    /// statement has needed, or of transactions in which nothing ran. It is told within the
    /// transaction, so it must be quick and must not use the `Db`; work that takes time belongs
    /// into hooks. A panic of it is a `tracing` event of level `ERROR` and changes nothing. Several
    /// listeners are told one after another.
    ///
    /// The last event of a transaction is [`AfterCommit`](crate::Moment::AfterCommit) or
    /// [`AfterRollback`](crate::Moment::AfterRollback) without a savepoint, or an
    /// [`AfterBegin`](crate::Moment::AfterBegin) that failed; only if its runtime is shut down there is
    /// none. [`Resumed`](crate::Moment::Resumed) comes when the scope inside has ended, before its
    /// `after_` hooks; if that was dropped half-way, its rollback may still go on.
    ///
    /// ```
    /// # fn build(pool: sqlx::PgPool) -> tx_runtime::PgDb {
    /// use tx_runtime::{Moment, PgDb};
    ///
    /// PgDb::builder(pool)
    ///     .listener(|event| {
    ///         if event.moment == Moment::AfterCommit && event.savepoint.is_none() {
    ///             println!("{}: {:?}", event.transaction.function(), event.failure);
    ///         }
    ///     })
    ///     .build()
    /// # }
    /// ```
    pub fn listener<F>(mut self, listener: F) -> Self
    where
        F: Fn(&TransactionEvent<'_>) + Send + Sync + 'static,
    {
        self.watch().listeners.push(Arc::new(listener));
        self
    }

    /// Warns of scopes that take longer than `limit`, at the moment when one does.
    ///
    /// The warning is a `tracing` event that says whether the scope's transaction is open.
    pub fn warn_slow_scopes(mut self, limit: Duration) -> Self {
        self.watch().slow = Some(limit);
        self
    }

    /// Warns of transactions that wait longer than `limit` for their next statement, holding their
    /// connection and what they have locked, at the moment when that comes.
    ///
    /// The warning is a `tracing` event. Of a transaction for which nothing comes any more,
    /// [`warn_slow_scopes`](Self::warn_slow_scopes) tells.
    pub fn warn_idle_transactions(mut self, limit: Duration) -> Self {
        self.watch().idle = Some(limit);
        self
    }

    fn watch(&mut self) -> &mut Watch {
        Arc::make_mut(&mut self.settings.watch)
    }

    /// Where transactions that are `read_only` and under no lock run instead.
    ///
    /// What they read may be older than what was committed last, by the caller itself too:
    /// [`read_your_writes`](crate::read_your_writes) is the remedy for that. Their pool keeps connections
    /// free for nested transactions as the first one does; a chain that holds a connection of
    /// one pool and asks the other for a second finds one if both have two or more.
    pub fn replica(mut self, pool: Pool<DB>) -> Self {
        self.replica = Some(pool);
        self
    }

    /// The finished `Db`.
    #[must_use]
    pub fn build(self) -> Db<DB> {
        Db {
            source: Source::new(self.pool, self.replica, self.settings),
        }
    }
}
