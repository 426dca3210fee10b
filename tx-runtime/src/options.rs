//! What a scope may be asked for, apart from its body.

use std::fmt;
use std::panic::Location;

use crate::lock::Lock;
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

    /// The name that errors and log events show.
    #[must_use]
    pub const fn name(mut self, name: &'static str) -> Self {
        self.site = self.site.renamed(name);
        self
    }

    /// A lock to hold around the scope; it opens after the scope's transaction has ended.
    ///
    /// ```
    /// use tx_runtime::{Propagation, TransactionOptions};
    ///
    /// let add = TransactionOptions::new()
    ///     .propagation(Propagation::Isolated)
    ///     .lock(format!("interest-asset:{}", 7));
    /// # let _: tx_runtime::LockedOptions<tx_runtime::Error> = add;
    /// ```
    #[must_use]
    pub fn lock<E: fmt::Debug>(self, lock: impl Into<Lock>) -> LockedOptions<E> {
        RuledOptions::from(self).lock(lock)
    }

    /// Commits, and still returns the error, for the errors that `keeps` answers `true` for.
    #[must_use]
    pub fn no_rollback_for<E: fmt::Debug>(self, keeps: fn(&E) -> bool) -> RuledOptions<E> {
        let RuledOptions { options, rules } = self.into();
        RuledOptions {
            options,
            rules: rules.no_rollback_for(keeps),
        }
    }
}

impl Default for TransactionOptions {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

/// [`TransactionOptions`] together with a rule about the body's errors.
#[derive(Clone, Copy, Debug)]
pub struct RuledOptions<E> {
    pub(crate) options: TransactionOptions,
    pub(crate) rules: Rules<E>,
}

/// Errors of closures are put into words by `Debug`: of the ways that a generic function can
/// ask for, it is the one that nearly every error type has.
impl<E: fmt::Debug> From<TransactionOptions> for RuledOptions<E> {
    fn from(options: TransactionOptions) -> Self {
        Self {
            options,
            rules: Rules::described(|error| Some(format!("{error:?}"))),
        }
    }
}

impl<E> RuledOptions<E> {
    /// As [`TransactionOptions::lock`].
    #[must_use]
    pub fn lock(self, lock: impl Into<Lock>) -> LockedOptions<E> {
        LockedOptions {
            options: self,
            lock: Some(lock.into()),
        }
    }
}

/// [`RuledOptions`] together with a lock.
#[derive(Clone, Debug)]
pub struct LockedOptions<E> {
    pub(crate) options: RuledOptions<E>,
    pub(crate) lock: Option<Lock>,
}

impl<E> From<RuledOptions<E>> for LockedOptions<E> {
    fn from(options: RuledOptions<E>) -> Self {
        Self {
            options,
            lock: None,
        }
    }
}

impl<E: fmt::Debug> From<TransactionOptions> for LockedOptions<E> {
    fn from(options: TransactionOptions) -> Self {
        RuledOptions::from(options).into()
    }
}

/// What a scope knows about its body's error type.
#[derive(Clone, Copy, Debug)]
pub struct Rules<E> {
    keeps: fn(&E) -> bool,
    describe: fn(&E) -> Option<String>,
}

impl<E> Rules<E> {
    /// Rolls back for every error and knows only the error's type name.
    #[must_use]
    pub fn unnamed() -> Self {
        Self::described(|_| None)
    }

    /// As [`unnamed`](Self::unnamed), with a way to put the error into words.
    #[must_use]
    pub fn described(describe: fn(&E) -> Option<String>) -> Self {
        Self {
            keeps: |_| false,
            describe,
        }
    }

    /// Commits for the errors that `keeps` answers `true` for.
    #[must_use]
    pub fn no_rollback_for(mut self, keeps: fn(&E) -> bool) -> Self {
        self.keeps = keeps;
        self
    }

    pub(crate) fn commits(&self, error: &E) -> bool {
        (self.keeps)(error)
    }

    pub(crate) fn describe(&self, error: &E) -> String {
        (self.describe)(error)
            .unwrap_or_else(|| format!("an error of type `{}`", std::any::type_name::<E>()))
    }
}
