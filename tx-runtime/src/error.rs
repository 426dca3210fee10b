//! Everything that can be wrong with a scope, in words: what happened, where, what to do.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use crate::author::Author;
use crate::cause::{Cause, CauseKind, Doom};
use crate::dialect::Obstacle;
use crate::hook::HookFailure;
use crate::options::Isolation;
use crate::propagation::Propagation;
use crate::site::Site;

/// An error of the transaction machinery itself.
///
/// A function under `#[transactional]` returns its own error type, which takes this one in
/// through `From`. A refused statement reaches the body as a [`sqlx::Error`] that carries
/// this type; [`Error::of`] looks inside, and `Error::from` unwraps it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A statement was run through a `Db` by code that is in none of its scopes.
    #[error(
        "a statement was run through a Db outside any of its scopes: annotate the calling function \
         with `#[transactional]` (a spawned task does not inherit its parent's scope), or use \
         `db.pool()` where autocommit is meant"
    )]
    OutsideScope,

    /// Something that needs a transaction was done without one: a `Mandatory` scope, a
    /// savepoint, `set_rollback_only`.
    #[error(
        "{function} needs a transaction, but there is none: call it from a function that has one, \
         or give it one with `Required`"
    )]
    NoTransaction {
        /// The function that was called.
        function: Site,
    },

    /// A `Never` scope was entered inside a transaction.
    #[error(
        "{function} must not run inside a transaction (propagation = Never), but {outer} has one: \
         call it outside, or use `NotSupported` to suspend the transaction"
    )]
    TransactionActive {
        /// The function that was called.
        function: Site,
        /// The function whose transaction it was called in.
        outer: Site,
    },

    /// An `Isolated` scope was entered without a held lock.
    #[error(
        "{function} must run under a lock (propagation = Isolated), but its call chain holds none: \
         take one around it, or use `RequiresNew`"
    )]
    NoLockHeld {
        /// The function that was called.
        function: Site,
    },

    /// A scope asked for an isolation level that the transaction it joins does not have.
    #[error(
        "{function} asks for {asked}, but it joins the transaction of {outer}, which was begun \
         with {}: use `RequiresNew`, or give {outer} the same level",
        found.map_or_else(|| "the server's default".to_owned(), |level| level.to_string())
    )]
    IsolationMismatch {
        /// The joining function.
        function: Site,
        /// What it asked for.
        asked: Isolation,
        /// The function that owns the transaction.
        outer: Site,
        /// What the transaction was begun with.
        found: Option<Isolation>,
    },

    /// A scope that reads only met a transaction that writes, or the reverse.
    #[error(
        "{function} {}, but the transaction of {outer} that it would run in does not: use \
         `RequiresNew`, or give both the same",
        if *read_only { "reads only" } else { "may write" }
    )]
    ReadOnlyMismatch {
        /// The function that was called.
        function: Site,
        /// The function whose transaction, or savepoint, it was called in.
        outer: Site,
        /// Whether it is the called function that reads only.
        read_only: bool,
    },

    /// A scope that is to be run again after a conflict does not own its transaction, which is
    /// the only one that can begin it anew.
    #[error(
        "{function} asks for `retry`, but the transaction it would run in is not its own (propagation \
         = {propagation}): let the function that owns it retry, or use `RequiresNew`"
    )]
    RetryWithoutOwnership {
        /// The function that was called.
        function: Site,
        /// Its mode.
        propagation: Propagation,
    },

    /// A scope without a transaction was given an option that is about transactions.
    #[error(
        "{function} asks for `{option}`, which has no effect without a transaction (propagation = \
         {propagation}): leave it out, or use `Required`"
    )]
    WithoutEffect {
        /// The function that was called.
        function: Site,
        /// The option.
        option: &'static str,
        /// The function's mode.
        propagation: Propagation,
    },

    /// A scope asked for an author that the transaction it joins does not have.
    #[error(
        "{function} makes changes as {asked}, but it joins the transaction of {outer}, whose one revision is {}: use \
         `RequiresNew`, or give {outer} the same `history`",
        found.as_ref().map_or_else(|| "nobody's".to_owned(), |found| format!("that of {found}"))
    )]
    HistoryMismatch {
        /// The joining function.
        function: Site,
        /// Who it says makes the changes.
        asked: Arc<Author>,
        /// The function that owns the transaction.
        outer: Site,
        /// Whose changes that transaction makes.
        found: Option<Arc<Author>>,
    },

    /// A scope that makes no changes was given an author for them.
    #[error(
        "{function} reads only, and has no changes that `history` could be about: leave one of the two out"
    )]
    HistoryOfReader {
        /// The function that was called.
        function: Site,
    },

    /// An author that cannot be stored.
    #[error(
        "{function}: the {part} of its `history` contains the character NUL, which PostgreSQL cannot store: remove it"
    )]
    HistoryText {
        /// The function that was called.
        function: Site,
        /// `actor` or `reason`.
        part: &'static str,
    },

    /// The tables are missing in which a revision is kept.
    #[error(
        "{function} has a `history`, but this database has no table `{table}`: put what \
         `tx-history generate` writes into a migration"
    )]
    NoHistoryTable {
        /// The function whose changes were to be recorded.
        function: Site,
        /// The missing table.
        table: &'static str,
    },

    /// The transaction can only roll back, so nothing more runs in it.
    #[error(
        "{function} was refused: the transaction can only roll back since {by} failed: {cause}; \
         let the error through, or put what may fail into a Nested scope"
    )]
    Doomed {
        /// The function that was refused.
        function: Site,
        /// The function that doomed the transaction.
        by: Site,
        /// What happened in it.
        #[source]
        cause: Cause,
    },

    /// The time of the scope, or of one that it runs in or that has joined it, was over.
    #[error(
        "{function} was rolled back: the time of {by} was over: {cause}; give it a longer \
         `timeout`, or less to do"
    )]
    TimedOut {
        /// The function that was rolled back or refused.
        function: Site,
        /// The function whose time it was.
        by: Site,
        /// The limit, in words.
        #[source]
        cause: Cause,
    },

    /// The scope returned without an error, but `set_rollback_only` had been called in it.
    #[error("{function} was rolled back as it had asked: {reason}")]
    RolledBack {
        /// The function whose transaction it was.
        function: Site,
        /// The reason given to `set_rollback_only`.
        reason: String,
    },

    /// The scope meant to commit, but something in it had failed: it was rolled back.
    #[error(
        "{function} was rolled back although it {meant}: {by} had failed: {cause}; let that error \
         through, or put what may fail into a Nested scope"
    )]
    UnexpectedRollback {
        /// The function whose scope was rolled back.
        function: Site,
        /// The function that failed.
        by: Site,
        /// What happened in it.
        #[source]
        cause: Cause,
        /// What the scope did: `returned Ok`, ``called `commit` ``, or the error that its rules
        /// commit for.
        meant: String,
    },

    /// No connection to the database could be made.
    ///
    /// A server that is not there yet is waited for as long as the pool's `acquire_timeout` says.
    #[error("{function} could not connect to {place}: {obstacle} ({source}); {}", obstacle.remedy())]
    Connect {
        /// `Db::connect` and the line it is called at, or the function that needed a connection.
        function: Site,
        /// Where to, without the password.
        place: String,
        /// What is in the way.
        obstacle: Obstacle,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },

    /// No transaction could be begun.
    #[error(
        "{function} could not begin a transaction: {source}; nothing was run: {}",
        after_failure(*retryable, "mend what this says")
    )]
    Begin {
        /// The function whose transaction it was to be.
        function: Site,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
        /// Whether trying again may help.
        retryable: bool,
    },

    /// A savepoint could not be set or released.
    #[error(
        "{function}: the savepoint could not be closed, its work is rolled back: {source}; let the \
         error through, so that the whole transaction can be run again"
    )]
    Savepoint {
        /// The function the savepoint belongs to.
        function: Site,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },

    /// A `before_commit` hook failed; nothing was stored.
    #[error(
        "{function} was rolled back after it {meant}: {failure}; mend the hook, or use `after_commit` \
         for what the commit is not to depend on"
    )]
    BeforeCommit {
        /// The function whose transaction it was.
        function: Site,
        /// The hook and its error.
        #[source]
        failure: HookFailure,
        /// What the scope returned.
        meant: String,
    },

    /// A hook that `after_commit_or_now` ran at once, for want of a transaction, failed.
    #[error(transparent)]
    Hook(HookFailure),

    /// COMMIT did not take effect, and nothing is stored: the server refused it, or the
    /// connection was lost and the server, asked on another one, had rolled back.
    #[error(
        "{function} was rolled back: COMMIT failed after it {meant}: {source}; {}",
        after_failure(*retryable, "mend what this names, a constraint that is checked late for one")
    )]
    Commit {
        /// The function whose transaction it was.
        function: Site,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
        /// What the scope returned.
        meant: String,
        /// Whether running the transaction again may succeed.
        retryable: bool,
    },

    /// The transaction had ended before its scope did: by a COMMIT, ROLLBACK or DDL statement
    /// that was run in it, or by the server. What ran before that may be stored.
    #[error(
        "the transaction of {function} had already ended when it {meant}: a statement in it had \
         ended it, so what it wrote may be stored in part ({cause}); keep COMMIT, ROLLBACK and \
         DDL out of the scope"
    )]
    EndedEarly {
        /// The function whose scope it was.
        function: Site,
        /// How that came to light.
        #[source]
        cause: Cause,
        /// What the scope returned.
        meant: String,
    },

    /// The connection was lost during COMMIT, and what became of it could not be found out: it
    /// may or may not have taken effect.
    ///
    /// PostgreSQL is asked (`pg_xact_status`) on a connection of its own before anybody is
    /// told, for as long as the pool's `acquire_timeout` says. It is unknown there only if the
    /// server cannot be reached in that time, or has crashed or been replaced meanwhile: then it
    /// may have given the transaction's number to another one. MySQL and MariaDB keep no record
    /// of what became of a transaction. One that is `read_only` has stored nothing: that is a
    /// [`Commit`](Self::Commit) on every database.
    #[error(
        "{function}: the answer to COMMIT was lost after it {meant}, so whether it took effect is \
         unknown ({source}); check before running it again"
    )]
    CommitUnknown {
        /// The function whose transaction it was.
        function: Site,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
        /// What the scope returned.
        meant: String,
    },

    /// The scope that a statement belongs to has ended.
    #[error(
        "{function} has ended: a statement that outlived it was not run; await its work before it \
         returns, or give that a scope of its own"
    )]
    TransactionClosed {
        /// The function whose scope it was.
        function: Site,
    },

    /// No connection came free in time.
    #[error(
        "{function} waited {waited:?} for {}{}: let transactions end sooner{}, or wait longer \
         (`acquire_timeout`)",
        awaited(*size, *kept, *writer),
        outer.map_or_else(String::new, |outer| format!(", while {outer} in the same call chain holds one")),
        if *writer { "" } else { ", give the pool more connections (`max_connections`)" }
    )]
    ConnectionTimeout {
        /// The function that needed the connection.
        function: Site,
        /// The function of the same chain that holds a connection, if one does.
        outer: Option<Site>,
        /// How long it waited.
        waited: Duration,
        /// The pool's size.
        size: usize,
        /// How many of its connections others had to leave to transactions inside of theirs.
        kept: usize,
        /// Whether it waited for its turn to write to a SQLite database, before any connection.
        writer: bool,
    },

    /// The pool cannot hold as many connections at once as the call chain needs.
    #[error(
        "{function} needs a further connection while {outer} in the same call chain holds one, and \
         the pool of {size} cannot give it without a deadlock: declare `nesting_depth({needed})` on \
         the Db, over a pool of at least {needed}, or join instead"
    )]
    PoolTooSmall {
        /// The function that needed the connection.
        function: Site,
        /// The function that holds one.
        outer: Site,
        /// The pool's size.
        size: usize,
        /// How many connections the chain needs.
        needed: usize,
    },

    /// SQLite has one writer, and the call chain already is it.
    #[error(
        "{function} needs a second connection to a SQLite database on which {outer} in the same \
         call chain has a transaction open, and that is the one writer; it would wait for itself: \
         run it before the first statement of {outer}, or use `Nested`"
    )]
    SecondWriter {
        /// The function that was refused.
        function: Site,
        /// The function whose transaction is open.
        outer: Site,
    },

    /// Another scope or statement of the same transaction did not make room in time.
    #[error(
        "{function} waited {waited:?} for its turn in the transaction, which {holder} holds: poll \
         concurrent branches together (`join!`), or finish one before the other"
    )]
    TurnTimeout {
        /// The function that waited.
        function: Site,
        /// The function that holds the turn.
        holder: Site,
        /// How long it waited.
        waited: Duration,
    },

    /// A statement would have begun or ended a transaction behind the scope's back.
    #[error(
        "{function}: `{statement}` was not run: a scope begins and ends its transaction itself; use \
         `#[transactional]` options, a Nested scope, or `set_rollback_only`"
    )]
    TransactionControl {
        /// The function that ran it.
        function: Site,
        /// The statement's first words.
        statement: String,
    },

    /// A statement would have committed the open transaction (DDL on MySQL and MariaDB).
    #[error(
        "{function}: `{statement}` was not run: this database commits the open transaction \
         before it; run it through `db.pool()` outside the scope"
    )]
    ImplicitCommit {
        /// The function that ran it.
        function: Site,
        /// The statement's first words.
        statement: String,
    },

    /// A lock did not come free in time.
    #[error(
        "{function} waited {waited:?} for the lock `{key}`{}; nothing was run: ask again, or wait \
         longer (`wait`)",
        holder.as_ref().map_or_else(String::new, |holder| format!(", which is held by {holder}"))
    )]
    LockTimeout {
        /// The function that wanted the lock.
        function: Site,
        /// The lock's name; several if they were asked for together.
        key: String,
        /// How long the call waited.
        waited: Duration,
        /// Who holds it, where that can be told.
        holder: Option<String>,
    },

    /// A lock's name cannot be used.
    #[error("{function}: a lock cannot be called `{key}`: {problem}")]
    LockKey {
        /// The function that wanted the lock.
        function: Site,
        /// The name, shortened.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// A lock's label cannot be used.
    #[error("{function}: a lock cannot have the label `{label}`: {problem}")]
    LockLabel {
        /// The function that wanted the lock.
        function: Site,
        /// The label, shortened.
        label: String,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// The tables of tickets are missing.
    #[error(
        "{function}: the ticket for `{key}` cannot be drawn, because the database lacks the table `tx_ticket`: create it with `TicketLocks::create_tables()`, or in a migration with: {create}"
    )]
    NoTicketTable {
        /// The function that wanted the lock.
        function: Site,
        /// The lock's name.
        key: String,
        /// The statements that create the tables.
        create: &'static str,
    },

    /// Whoever keeps the locks failed.
    #[error(
        "{function}: the lock `{key}` cannot be had or checked: {source}; see that what keeps it can \
         be reached, then run it again"
    )]
    LockUnavailable {
        /// The function that wanted the lock.
        function: Site,
        /// The lock's name.
        key: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The database has no table for the numbers of leases.
    #[error(
        "{function}: the lock `{key}` is a lease, which may run out too early; its number must be \
         checked in this very database, but there is no table `tx_fence` here: call \
         `Db::create_fence_table()` once, or put `Db::fence_table()` into a migration: {create}"
    )]
    NoFenceTable {
        /// The function that ran under the lock.
        function: Site,
        /// The lock's name.
        key: String,
        /// The statement that creates the table.
        create: &'static str,
    },

    /// A lock was lost while it was relied on: its lease ran out, or its session ended. What
    /// was done under it is rolled back.
    #[error(
        "{function} was rolled back: the lock `{key}` was lost before the work under it had \
         committed; run it again, and if it takes that long, ask for a longer lease"
    )]
    LockLost {
        /// The function that relied on the lock.
        function: Site,
        /// The lock's name.
        key: String,
    },

    /// A lock was taken in a transaction whose snapshot may be older than the lock, so what it
    /// reads under the lock may be stale.
    ///
    /// A statement that is refused so has failed: its scope can only roll back.
    #[error(
        "{function} was refused: {outer} had run a statement before the lock `{key}` was taken, and \
         under RepeatableRead or Serializable, or on a replica, it may go on reading that older state: \
         take the lock before the first statement, make {function} `Isolated`, or use ReadCommitted on \
         the main pool"
    )]
    LockAfterSnapshot {
        /// The function that was refused.
        function: Site,
        /// The lock's name.
        key: String,
        /// The function whose transaction it is.
        outer: Site,
    },

    /// Any other error of the driver.
    #[error(transparent)]
    Database(sqlx::Error),
}

/// What became of the work in a scope that ended with an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The body was not run.
    NotStarted,
    /// Nothing that the scope wrote is stored, or it will not be once its error has
    /// reached the owner of the transaction.
    RolledBack,
    /// The database may hold all, some or none of it.
    Unknown,
}

/// What somebody waited for who wanted a connection.
/// What to do about a failure whose cause is told before.
fn after_failure(retryable: bool, otherwise: &'static str) -> &'static str {
    if retryable {
        "run it again, or have `retry` do that"
    } else {
        otherwise
    }
}

fn awaited(size: usize, kept: usize, writer: bool) -> String {
    if writer {
        return "its turn to write, as SQLite has one writer at a time, and a transaction of somebody else has \
                not ended (does this task await who has it, or hold it in a `Tx`?)"
            .to_owned();
    }
    match kept {
        0 => format!("a connection of the pool (size {size})"),
        kept => format!(
            "a connection of the pool (size {size}, of which {kept} kept for nested transactions: see \
             `nesting_depth`)"
        ),
    }
}

impl Error {
    /// The error of this crate inside a statement's error, if a statement was refused.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Option<&Self> {
        match error {
            sqlx::Error::Configuration(inner) => inner.downcast_ref(),
            _ => None,
        }
    }

    /// Whether running the whole transaction again may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Doomed { cause, .. } | Self::UnexpectedRollback { cause, .. } => {
                cause.is_retryable()
            }
            Self::Begin { retryable, .. } | Self::Commit { retryable, .. } => *retryable,
            Self::ConnectionTimeout { .. } | Self::LockTimeout { .. } | Self::LockLost { .. } => {
                true
            }
            Self::Connect {
                obstacle, source, ..
            } => obstacle.may_pass() || crate::dialect::is_retryable(source),
            Self::BeforeCommit { failure, .. } | Self::Hook(failure) => {
                may_succeed_again(failure.reason())
            }
            Self::Database(error) | Self::Savepoint { source: error, .. } => {
                crate::dialect::is_retryable(error)
            }
            Self::LockUnavailable { source, .. } => source
                .downcast_ref::<sqlx::Error>()
                .is_some_and(crate::dialect::is_retryable),
            _ => false,
        }
    }

    /// What became of the scope's work, if it had a transaction; without one its statements
    /// were stored one by one.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NoTransaction { .. }
            | Self::TransactionActive { .. }
            | Self::NoLockHeld { .. }
            | Self::IsolationMismatch { .. }
            | Self::ReadOnlyMismatch { .. }
            | Self::WithoutEffect { .. }
            | Self::HistoryMismatch { .. }
            | Self::HistoryOfReader { .. }
            | Self::HistoryText { .. }
            | Self::RetryWithoutOwnership { .. }
            | Self::LockKey { .. }
            | Self::LockLabel { .. }
            | Self::NoTicketTable { .. }
            | Self::LockTimeout { .. } => Outcome::NotStarted,
            Self::CommitUnknown { .. } | Self::EndedEarly { .. } | Self::Hook(_) => {
                Outcome::Unknown
            }
            _ => Outcome::RolledBack,
        }
    }

    /// As the first thing that went wrong in a transaction which it kept from beginning.
    pub(crate) fn as_cause_of_begin(&self) -> Cause {
        match self {
            Self::Begin {
                source, retryable, ..
            } => Cause::of_database(CauseKind::Begin, source, *retryable),
            Self::Connect { source, .. } => {
                let retryable = crate::dialect::is_retryable(source);
                Cause::in_words(CauseKind::Begin, self.to_string(), source, retryable)
            }
            // That no connection comes free is no conflict.
            other => Cause::of_function(CauseKind::Begin, other.to_string()),
        }
    }

    pub(crate) fn timed_out(function: Site, doom: &Doom) -> Self {
        Self::TimedOut {
            function,
            by: doom.by,
            cause: doom.cause.clone(),
        }
    }

    pub(crate) fn into_statement_error(self) -> sqlx::Error {
        sqlx::Error::Configuration(Box::new(self))
    }
}

/// What a hook's own error says about running its transaction again.
fn may_succeed_again(reason: &(dyn StdError + Send + Sync + 'static)) -> bool {
    if let Some(error) = reason.downcast_ref::<Error>() {
        return error.is_retryable();
    }
    let statement = reason.downcast_ref::<sqlx::Error>();
    statement.is_some_and(|error| match Error::of(error) {
        Some(refusal) => refusal.is_retryable(),
        None => crate::dialect::is_retryable(error),
    })
}

/// For functions that return sqlx's own error: a driver's error comes out as it was, and
/// [`Error::of`] finds any other inside.
impl From<Error> for sqlx::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error,
            own => own.into_statement_error(),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Configuration(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(inner) => Self::Database(sqlx::Error::Configuration(inner)),
            },
            other => Self::Database(other),
        }
    }
}
