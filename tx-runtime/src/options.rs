//! What a scope may be asked for, apart from its body.

use std::fmt;
use std::panic::Location;

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
#[derive(Clone, Copy, Debug)]
pub struct TransactionOptions {
    pub(crate) site: Site,
    pub(crate) propagation: Propagation,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) read_only: bool,
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
    /// if there is one; on SQLite they wait for no writer.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// An option that has no effect in a scope without a transaction, if one is given.
    pub(crate) const fn for_a_transaction(&self) -> Option<&'static str> {
        if self.isolation.is_some() {
            Some("isolation")
        } else if self.read_only {
            Some("read_only")
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
