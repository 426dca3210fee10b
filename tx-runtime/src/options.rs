//! What a scope may be asked for, apart from its body.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::author::Author;
use crate::propagation::Propagation;
use crate::site::Site;

/// A transaction's isolation level, in the words of the SQL standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// May see what others have not committed (PostgreSQL treats it as `ReadCommitted`).
    ReadUncommitted,
    /// Each statement sees what was committed before it.
    ReadCommitted,
    /// Every statement sees the state at the first one.
    RepeatableRead,
    /// As if transactions ran one after another. SQLite always gives this level.
    Serializable,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Options of a scope, for [`Db::transaction_with`](crate::Db::transaction_with) and
/// [`Db::begin_with`](crate::Db::begin_with).
///
/// ```
/// use tx_runtime::{Propagation, TransactionOptions};
///
/// let audit = TransactionOptions::new()
///     .propagation(Propagation::RequiresNew)
///     .name("audit.write");
/// # let _ = audit;
/// ```
#[derive(Clone, Debug)]
pub struct TransactionOptions {
    pub(crate) site: Site,
    pub(crate) propagation: Propagation,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) read_only: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) author: Option<Arc<Author>>,
    /// When the scope's time began, if that was before it was entered.
    pub(crate) since: Option<Instant>,
    /// Which attempt at the scope this is, counted from 1.
    pub(crate) attempt: u32,
}

/// What a transaction is begun with.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The server's default, if none.
    pub isolation: Option<Isolation>,
    /// Whether the server refuses every write in it.
    pub read_only: bool,
}

impl TransactionOptions {
    /// `Required`, at the server's isolation level, named after the calling source line.
    #[must_use]
    #[track_caller]
    pub const fn new() -> Self {
        Self::of(Site::at("transaction", Location::caller()))
    }

    pub(crate) const fn of(site: Site) -> Self {
        Self {
            site,
            propagation: Propagation::Required,
            isolation: None,
            read_only: false,
            timeout: None,
            author: None,
            since: None,
            attempt: 1,
        }
    }

    /// What the scope does with the caller's transaction.
    #[must_use]
    pub const fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = propagation;
        self
    }

    /// The isolation level of the transaction that the scope begins.
    ///
    /// A scope that joins a transaction of another level is refused with
    /// [`Error::IsolationMismatch`](crate::Error::IsolationMismatch).
    #[must_use]
    pub const fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }

    /// Has the database refuse every write in the scope.
    ///
    /// A function that would begin a transaction of its own joins one of the same kind only:
    /// a reader within a writer is refused, and so is a writer within a reader, with
    /// [`Error::ReadOnlyMismatch`](crate::Error::ReadOnlyMismatch). `Mandatory` and `Supports`
    /// join either. On PostgreSQL a `Nested` scope may read only within a writer. Transactions
    /// that this begins, and that hold no lock, go to the [`replica`](crate::DbBuilder::replica)
    /// if there is one; on SQLite they wait for no writer. On PostgreSQL they are spared the
    /// number that every transaction takes which may write, so that a lost COMMIT can be looked
    /// up.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// The time that the whole scope may take, waits for locks and connections included.
    ///
    /// When it is over, the body, or the `before_commit` hook that runs by then, is dropped where
    /// it stands, the database is told to give up what it is working on, and the scope is rolled
    /// back with [`Error::TimedOut`](crate::Error::TimedOut); so it is if a body that waits for
    /// nothing returns too late. A COMMIT that was sent is not given up. Within a longer time of
    /// the scope around it, a shorter one counts for its own scope, and dooms a transaction that
    /// that has joined; a longer one ends with the time around it. An explicit
    /// [`Tx`](crate::Tx) has no body to drop: it is held to its time before each statement, in its
    /// `before_commit` hooks, and before COMMIT.
    ///
    /// On servers an idle or working transaction is ended by the server itself soon after its
    /// time, also if nobody polls the scope any more. That needs one round trip after BEGIN.
    ///
    /// [`Duration::MAX`] is no limit, for a scope of a `Db` that has a default.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Who makes the changes of the transaction that the scope begins, and why, for the tables
    /// whose changes are recorded (feature `history`).
    ///
    /// A transaction has one revision in the history, so a scope that joins a transaction of
    /// another actor, or with another reason, is refused with
    /// [`Error::HistoryMismatch`](crate::Error::HistoryMismatch); without a reason of its own it
    /// takes the one there is. A transaction that is begun inside of an audited one, and names
    /// nobody, has the same author and a revision of its own.
    #[must_use]
    pub fn history(mut self, author: Author) -> Self {
        self.author = Some(Arc::new(author));
        self
    }

    /// A savepoint that nothing is said about: it is of the kind that is around it.
    pub(crate) const fn savepoint(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self.propagation(Propagation::Nested)
    }

    /// An option that has no effect in a scope without a transaction, if one is given.
    pub(crate) const fn for_a_transaction(&self) -> Option<&'static str> {
        if self.isolation.is_some() {
            Some("isolation")
        } else if self.read_only {
            Some("read_only")
        } else if self.timeout.is_some() {
            Some("timeout")
        } else if self.author.is_some() {
            Some("history")
        } else {
            None
        }
    }

    /// The name that errors and log events show.
    #[must_use]
    pub const fn name(mut self, name: &'static str) -> Self {
        self.site = self.site.renamed(name);
        self
    }
}

impl Default for TransactionOptions {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}
