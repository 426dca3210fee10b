//! Which results commit, and what is known of an error's type.

use std::fmt;

use crate::options::TransactionOptions;

/// An error type that says itself for which of its values a scope rolls back.
///
/// Without it, every error rolls back. A `no_rollback_for` or `rollback_for` that matches the
/// error comes before it.
///
/// `#[transactional]` finds the implementation by itself. A closure's scope cannot, since
/// generic code does not see which further traits a type has; give it
/// [`TransactionOptions::declared_by_error`].
///
/// ```
/// use tx_runtime::RollbackPolicy;
///
/// enum Refusal {
///     KnownAlready,
///     NotAllowed,
///     Transaction(tx_runtime::Error),
/// }
///
/// impl RollbackPolicy for Refusal {
///     fn rolls_back(&self) -> bool {
///         !matches!(self, Self::KnownAlready)
///     }
/// }
/// # let _ = (Refusal::NotAllowed, Refusal::Transaction);
/// ```
pub trait RollbackPolicy {
    /// Whether a scope that returns this error undoes what it has done.
    fn rolls_back(&self) -> bool;
}

/// What a scope knows about its body's results.
#[derive(Debug)]
pub struct Rules<T, E> {
    keeps: fn(&E) -> bool,
    undoes: fn(&E) -> bool,
    declared: fn(&E) -> bool,
    rejects: fn(&T) -> bool,
    describe: fn(&E) -> Option<String>,
}

impl<T, E> Rules<T, E> {
    /// Commits for every value, rolls back for every error, and knows only the error's type
    /// name.
    #[must_use]
    pub fn unnamed() -> Self {
        Self::described(|_| None)
    }

    /// As [`unnamed`](Self::unnamed), with a way to put the error into words.
    #[must_use]
    pub fn described(describe: fn(&E) -> Option<String>) -> Self {
        Self {
            keeps: |_| false,
            undoes: |_| false,
            declared: |_| true,
            rejects: |_| false,
            describe,
        }
    }

    /// Commits for the errors that `keeps` answers `true` for.
    #[must_use]
    pub fn no_rollback_for(mut self, keeps: fn(&E) -> bool) -> Self {
        self.keeps = keeps;
        self
    }

    /// Rolls back for the errors that `undoes` answers `true` for, whatever else is said of
    /// them.
    #[must_use]
    pub fn rollback_for(mut self, undoes: fn(&E) -> bool) -> Self {
        self.undoes = undoes;
        self
    }

    /// Rolls back for the values that `rejects` answers `true` for.
    #[must_use]
    pub fn rollback_if(mut self, rejects: fn(&T) -> bool) -> Self {
        self.rejects = rejects;
        self
    }

    /// What the error's type says of the errors that no other rule matches: whether to roll
    /// back.
    #[must_use]
    pub fn declared(mut self, declared: fn(&E) -> bool) -> Self {
        self.declared = declared;
        self
    }

    pub(crate) fn commits(&self, error: &E) -> bool {
        if (self.undoes)(error) {
            return false;
        }
        (self.keeps)(error) || !(self.declared)(error)
    }

    pub(crate) fn rejects(&self, value: &T) -> bool {
        (self.rejects)(value)
    }

    pub(crate) fn describe(&self, error: &E) -> String {
        (self.describe)(error)
            .unwrap_or_else(|| format!("an error of type `{}`", std::any::type_name::<E>()))
    }
}

impl<T, E> Clone for Rules<T, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, E> Copy for Rules<T, E> {}

/// [`TransactionOptions`] together with rules about the body's results.
#[derive(Debug)]
pub struct RuledOptions<T, E> {
    pub(crate) options: TransactionOptions,
    pub(crate) rules: Rules<T, E>,
}

impl<T, E> RuledOptions<T, E> {
    /// As [`TransactionOptions::no_rollback_for`].
    #[must_use]
    pub fn no_rollback_for(mut self, keeps: fn(&E) -> bool) -> Self {
        self.rules = self.rules.no_rollback_for(keeps);
        self
    }

    /// As [`TransactionOptions::rollback_for`].
    #[must_use]
    pub fn rollback_for(mut self, undoes: fn(&E) -> bool) -> Self {
        self.rules = self.rules.rollback_for(undoes);
        self
    }

    /// As [`TransactionOptions::rollback_if`].
    #[must_use]
    pub fn rollback_if(mut self, rejects: fn(&T) -> bool) -> Self {
        self.rules = self.rules.rollback_if(rejects);
        self
    }

    /// As [`TransactionOptions::declared_by_error`].
    #[must_use]
    pub fn declared_by_error(mut self) -> Self
    where
        E: RollbackPolicy,
    {
        self.rules = self.rules.declared(E::rolls_back);
        self
    }
}

impl<T, E> Clone for RuledOptions<T, E> {
    fn clone(&self) -> Self {
        Self {
            options: self.options.clone(),
            rules: self.rules,
        }
    }
}

/// Errors of closures are put into words by `Debug`: of the ways that a generic function can
/// ask for, it is the one that nearly every error type has.
impl<T, E: fmt::Debug> From<TransactionOptions> for RuledOptions<T, E> {
    fn from(options: TransactionOptions) -> Self {
        Self {
            options,
            rules: Rules::described(|error| Some(format!("{error:?}"))),
        }
    }
}

/// Rules for the body of a closure.
impl TransactionOptions {
    /// Commits, and still returns the error, for the errors that `keeps` answers `true` for.
    #[must_use]
    pub fn no_rollback_for<T, E: fmt::Debug>(self, keeps: fn(&E) -> bool) -> RuledOptions<T, E> {
        RuledOptions::from(self).no_rollback_for(keeps)
    }

    /// Rolls back for the errors that `undoes` answers `true` for, although
    /// [`no_rollback_for`](Self::no_rollback_for) or the error's own [`RollbackPolicy`] would
    /// commit.
    #[must_use]
    pub fn rollback_for<T, E: fmt::Debug>(self, undoes: fn(&E) -> bool) -> RuledOptions<T, E> {
        RuledOptions::from(self).rollback_for(undoes)
    }

    /// Rolls back for the values that `rejects` answers `true` for, and still returns them.
    ///
    /// This is the one `Ok` that comes without a commit: the value itself says so. Where the
    /// scope has joined a transaction, that can only roll back from then on.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let db = tx_runtime::SqliteDb::connect("sqlite::memory:").await?;
    /// # sqlx::query("create table seat (id integer)").execute(db.pool()).await?;
    /// use tx_runtime::{Error, TransactionOptions};
    ///
    /// let all_or_none = TransactionOptions::new().rollback_if(|booked: &u32| *booked < 2);
    /// let booked = db.transaction_with(all_or_none, async || {
    ///     sqlx::query("insert into seat values (1)").execute(&db).await?;
    ///     Ok::<_, Error>(1)
    /// });
    /// assert_eq!(booked.await?, 1);
    /// # let seats: i64 = sqlx::query_scalar("select count(*) from seat").fetch_one(db.pool()).await?;
    /// # assert_eq!(seats, 0);
    /// # Ok::<_, Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn rollback_if<T, E: fmt::Debug>(self, rejects: fn(&T) -> bool) -> RuledOptions<T, E> {
        RuledOptions::from(self).rollback_if(rejects)
    }

    /// Lets the error's [`RollbackPolicy`] decide about the errors that no other rule matches.
    #[must_use]
    pub fn declared_by_error<T, E: fmt::Debug + RollbackPolicy>(self) -> RuledOptions<T, E> {
        RuledOptions::from(self).declared_by_error()
    }
}
