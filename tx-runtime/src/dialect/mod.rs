//! The only place that knows which database it is on.
//!
//! [`Driver`] is what every sqlx driver can do, put into one bound; [`Dialect`] is where
//! the three databases differ. Nothing outside this module asks which of them it has.

#[cfg(any(feature = "mysql", feature = "postgres"))]
mod address;
#[cfg(feature = "history")]
pub(crate) mod history;
#[cfg(feature = "mysql")]
mod mysql;
mod obstacle;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
mod ticket;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::{AssertSqlSafe, Connection, Database, Either, Executor, SqlSafeStr, SqlStr};
use sqlx_core::describe::Describe;

#[cfg(feature = "history")]
use self::history::{Blueprint, Damage, Place, Reader, Relation, Repair, Survey, TableName};
use crate::options::{Isolation, Terms};
use crate::prepared::Prepared;

pub use self::obstacle::Obstacle;
pub(crate) use self::ticket::Framed;
use self::ticket::TicketWords;

/// A row or the summary of one statement, as drivers stream them.
pub(crate) type Step<DB> =
    Result<Either<<DB as Database>::QueryResult, <DB as Database>::Row>, sqlx::Error>;

/// The connect options of a database.
pub(crate) type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// What a failed statement means for the transaction it ran in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing reached the server, or the server did not mind.
    Local,
    /// The statement failed; a rollback to an earlier savepoint mends it.
    Statement,
    /// The whole transaction is gone or can only be repeated.
    Transaction,
    /// The connection is lost or out of step with the server.
    Connection,
}

/// What has become of a transaction whose connection is lost.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Committed,
    RolledBack,
    /// The server is still at it, or has not noticed that the connection is lost.
    Open,
    /// The server does not know, or not any more.
    Forgotten,
}

/// What a statement would do to a transaction behind its scope's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interference {
    /// It begins or ends a transaction.
    Control,
    /// The database commits the open transaction before it.
    ImplicitCommit,
}

/// How a second connection behaves while a chain has a write transaction open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// Transactions run beside each other.
    Concurrent,
    /// One writer at a time; a reader beside it sees what was committed.
    SingleWriter,
    /// One connection at a time may do anything at all.
    Exclusive,
}

/// When locks of the server are taken.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockTime {
    /// With BEGIN; kept until the end of the transaction. `first`: the level of the server,
    /// meant where the terms name none, is known to fix the snapshot too early.
    Begin { terms: Terms, first: bool },
    /// In a running transaction; kept until its end. `nested`: a savepoint is open.
    Inside { nested: bool },
    /// Without a transaction; kept until they are opened.
    Session,
}

/// The messages that take, and open, named locks of a server.
#[doc(hidden)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockMessages {
    /// Sent first, on its own.
    pub first: Option<String>,
    /// Sent after that: for [`LockTime::Begin`] it begins the transaction.
    pub then: Option<String>,
    /// Mends what a failure of these has broken.
    pub undo: Option<String>,
    /// Opens the locks; `None` if the end of the transaction does.
    pub open: Option<String>,
}

/// How long after the end of its time the server itself ends a transaction.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
const GRACE: Duration = Duration::from_secs(1);

mod sealed {
    pub trait Sealed {}
    #[cfg(feature = "mysql")]
    impl Sealed for sqlx::MySql {}
    #[cfg(feature = "postgres")]
    impl Sealed for sqlx::Postgres {}
    #[cfg(feature = "sqlite")]
    impl Sealed for sqlx::Sqlite {}
}

/// A database this crate runs on: [`sqlx::Sqlite`], [`sqlx::Postgres`] or [`sqlx::MySql`]
/// (MariaDB included), each behind the cargo feature of its name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a database that `tx-runtime` was built for",
    note = "enable the feature `sqlite`, `postgres` or `mysql` of `tx-runtime`"
)]
pub trait Dialect: Driver + TicketWords + sealed::Sealed {
    /// One message that ends the transaction with COMMIT, and fails without committing if
    /// the transaction is not the one that [`begin`](Self::begin) began.
    #[doc(hidden)]
    const COMMIT: &'static str;

    /// One message that begins a transaction on a connection whose state is not trusted.
    #[doc(hidden)]
    fn begin_sql(terms: Terms) -> SqlStr;

    /// What undoes, at the end of a transaction, what its BEGIN has set for the connection.
    #[doc(hidden)]
    #[must_use]
    fn restore_sql(_: Terms) -> Option<&'static str> {
        None
    }

    /// Has the server refuse writes from a savepoint on until it is released or rolled back to.
    #[doc(hidden)]
    const READ_ONLY_SAVEPOINT: Option<&'static str>;

    /// What the fate of a transaction can be asked for by.
    #[doc(hidden)]
    type Receipt: Send + Sync + 'static;

    /// Begins a transaction with what [`begin_sql`](Self::begin_sql) gave.
    #[doc(hidden)]
    fn begin(
        connection: &mut Self::Connection,
        sql: SqlStr,
    ) -> impl Future<Output = Result<Option<Self::Receipt>, sqlx::Error>> + Send;

    /// Asks on another connection what has become of the transaction of `receipt`.
    ///
    /// `impatient`: the server is to give it up, if it waits for a connection that is lost.
    #[doc(hidden)]
    fn fate(
        connection: &mut Self::Connection,
        receipt: &Self::Receipt,
        impatient: bool,
    ) -> impl Future<Output = Result<Fate, sqlx::Error>> + Send;

    /// Commits with [`COMMIT`](Self::COMMIT), and what is to be sent before and behind it: the
    /// server commits if what is before it has not failed, and does what is behind it if it
    /// has committed.
    #[doc(hidden)]
    fn commit(
        connection: &mut Self::Connection,
        before: String,
        behind: String,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        let sql = if before.is_empty() && behind.is_empty() {
            Self::COMMIT.into_sql_str()
        } else {
            let parts = [before.as_str(), Self::COMMIT, behind.as_str()];
            let parts = parts.into_iter().filter(|part| !part.is_empty());
            own_sql(parts.collect::<Vec<_>>().join("; "))
        };
        Self::control(connection, sql)
    }

    /// Ends whatever transaction the connection may be in.
    #[doc(hidden)]
    fn roll_back(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        Self::control(connection, "ROLLBACK".into_sql_str())
    }

    /// Whether the transaction is still there after a statement of it has failed.
    #[doc(hidden)]
    #[must_use]
    fn has_survived(_: &mut Self::Connection) -> impl Future<Output = bool> + Send {
        std::future::ready(true)
    }

    /// What the work on a connection is told by to stop.
    #[doc(hidden)]
    type Backend: Clone + fmt::Debug + Send + Sync + 'static;

    /// Has the server itself end the transaction some time after `limit`, if there is one, and
    /// makes the work on the connection stoppable.
    #[doc(hidden)]
    fn bind(
        connection: &mut Self::Connection,
        limit: Option<Duration>,
    ) -> impl Future<Output = Result<Self::Backend, sqlx::Error>> + Send;

    /// What, sent behind the end of the transaction, undoes [`bind`](Self::bind).
    #[doc(hidden)]
    const UNBIND: Option<&'static str>;

    /// Undoes what [`UNBIND`](Self::UNBIND) cannot.
    #[doc(hidden)]
    #[must_use]
    fn unbind(_: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Stops what `backend` is working on; `options` lead to its server.
    #[doc(hidden)]
    fn interrupt(
        options: Options<Self>,
        backend: Self::Backend,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Takes the order to stop back, where it waits for what comes next: what it was meant for has
    /// ended.
    #[doc(hidden)]
    fn call_off(_: &Self::Backend) {}

    /// What `error` means for the transaction.
    #[doc(hidden)]
    fn fault(error: &sqlx::Error) -> Fault;

    /// Whether running the whole transaction again may succeed.
    #[doc(hidden)]
    fn is_retryable(error: &sqlx::Error) -> bool;

    /// Whether `error`, answered to COMMIT, says that the transaction had ended before.
    #[doc(hidden)]
    fn ended_early(error: &sqlx::Error) -> bool;

    /// Whether `error`, answered to COMMIT, leaves it open whether the transaction was stored.
    ///
    /// `behind`: something was sent behind COMMIT in the same message, and may be what failed.
    #[doc(hidden)]
    fn may_have_committed(error: &sqlx::Error, behind: bool) -> bool;

    /// Whether `error`, answered to BEGIN, says that somebody left a transaction open on the
    /// connection.
    #[doc(hidden)]
    fn found_open_transaction(error: &sqlx::Error) -> bool;

    /// Whether `error`, answered to ROLLBACK, says that there was nothing to roll back.
    #[doc(hidden)]
    fn nothing_to_roll_back(error: &sqlx::Error) -> bool;

    /// Whether a failed statement leaves the rest of its transaction usable.
    #[doc(hidden)]
    const SURVIVES_FAILED_STATEMENTS: bool;

    /// What `sql` would do to an open transaction.
    #[doc(hidden)]
    fn interference(sql: &str) -> Option<Interference>;

    /// Whether `sql` can run beside a writer; asked only where there is a single one.
    #[doc(hidden)]
    fn reads_only(sql: &str) -> bool;

    /// Whether the server has named locks.
    #[doc(hidden)]
    const LOCKS: bool;

    /// How to take named locks of the server; nothing to send if it has none.
    #[doc(hidden)]
    #[must_use]
    fn take_locks(keys: &[Arc<str>], wait: Duration, when: LockTime) -> LockMessages;

    /// Whether `error` says that a lock of [`take_locks`](Self::take_locks) was not free.
    #[doc(hidden)]
    #[must_use]
    fn lock_was_busy(error: &sqlx::Error) -> bool;

    /// Whether `error` says that a snapshot was fixed before the lock was had.
    #[doc(hidden)]
    #[must_use]
    fn lock_came_too_late(error: &sqlx::Error) -> bool;

    /// Who has a lock of the server, in words.
    #[doc(hidden)]
    fn lock_holder(
        connection: &mut Self::Connection,
        key: &str,
    ) -> impl Future<Output = Option<String>> + Send;

    /// Whether what a transaction reads may be older than a lock that it takes half-way.
    #[doc(hidden)]
    fn keeps_snapshot(
        connection: &mut Self::Connection,
        isolation: Option<Isolation>,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Writes a fencing token down for the running transaction; the greatest one seen so far,
    /// if that is greater.
    #[doc(hidden)]
    fn fence(
        connection: &mut Self::Connection,
        key: &str,
        token: i64,
    ) -> impl Future<Output = Result<Option<i64>, sqlx::Error>> + Send;

    /// Whether `error`, answered to [`fence`](Self::fence), says that its table is missing.
    #[doc(hidden)]
    #[must_use]
    fn lacks_fence_table(error: &sqlx::Error) -> bool;

    /// The table of [`fence`](Self::fence).
    #[doc(hidden)]
    const FENCE_TABLE: &'static str;

    /// Tells a transaction that has just begun who makes its changes: SQL in which the texts are
    /// nothing but digits.
    #[doc(hidden)]
    #[must_use]
    fn introduce(actor: Option<&str>, reason: Option<&str>) -> String;

    /// What, sent before COMMIT, takes back what [`introduce`](Self::introduce) has written.
    #[doc(hidden)]
    const FINISH_REVISION: Option<&'static str>;

    /// What, sent behind the end of the transaction, undoes [`introduce`](Self::introduce) for
    /// the connection.
    #[doc(hidden)]
    const FORGET_AUTHOR: Option<&'static str>;

    /// The table that [`introduce`](Self::introduce) needs; empty if it needs none.
    #[doc(hidden)]
    const OPEN_REVISION: &'static str;

    /// Whether `error`, answered to [`introduce`](Self::introduce), says that it is missing.
    #[doc(hidden)]
    #[must_use]
    fn lacks_history(error: &sqlx::Error) -> bool;

    /// Whether changes are recorded also where nobody was introduced.
    #[doc(hidden)]
    const RECORDS_STRANGERS: bool;

    /// The number of the running transaction's revision, if it has one.
    #[doc(hidden)]
    fn revision(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<Option<i64>, sqlx::Error>> + Send;

    /// What the catalogue says about a table and its history.
    #[cfg(feature = "history")]
    #[doc(hidden)]
    fn survey(
        connection: &mut Self::Connection,
        table: &TableName,
    ) -> impl Future<Output = Result<Survey, sqlx::Error>> + Send;

    /// The tables that have a history, or the beginnings of one.
    #[cfg(feature = "history")]
    #[doc(hidden)]
    fn audited(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<Vec<TableName>, sqlx::Error>> + Send;

    /// What it should say.
    #[cfg(feature = "history")]
    #[doc(hidden)]
    #[must_use]
    fn blueprint(place: &Place, table: &Relation) -> Blueprint;

    /// What makes a damaged history table as it should be.
    #[cfg(feature = "history")]
    #[doc(hidden)]
    #[must_use]
    fn repair(repair: &Repair, damage: &Damage) -> String;

    /// The words in which a history is asked for.
    #[cfg(feature = "history")]
    #[doc(hidden)]
    #[must_use]
    fn reader(place: &Place) -> Reader;

    /// Where `options` lead, in words, without the password.
    #[doc(hidden)]
    #[must_use]
    fn place(options: &Options<Self>) -> String;

    /// What is in the way if connecting with `options` is answered with `error`.
    #[doc(hidden)]
    #[must_use]
    fn obstacle(options: &Options<Self>, error: &sqlx::Error) -> Obstacle;

    /// How connections made with `options` stand to each other.
    #[doc(hidden)]
    fn concurrency(options: &Options<Self>) -> Concurrency;
}

/// SQL that this crate has put together, of constants, numbers and hexadecimal digits.
pub(crate) fn own_sql(text: String) -> SqlStr {
    AssertSqlSafe(text).into_sql_str()
}

/// What every sqlx driver offers on its connection.
///
/// The bound `for<'c> &'c mut Connection: Executor<'c>` is not implied by a trait that
/// demands it, so it would have to stand at every function of this crate; this trait says
/// it once.
#[doc(hidden)]
pub trait Driver: Database {
    fn fetch_many(
        connection: &mut Self::Connection,
        query: Prepared<Self>,
    ) -> BoxStream<'_, Step<Self>>;

    fn fetch_optional(
        connection: &mut Self::Connection,
        query: Prepared<Self>,
    ) -> BoxFuture<'_, Result<Option<Self::Row>, sqlx::Error>>;

    /// Runs one of our own messages, which return no rows.
    fn control(
        connection: &mut Self::Connection,
        sql: SqlStr,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        // Of the driver's two ways this is the one that allocates less.
        let answer = Self::fetch_optional(connection, Prepared::of(sql));
        async move { answer.await.map(drop) }
    }

    fn prepare_with<'c>(
        connection: &'c mut Self::Connection,
        sql: SqlStr,
        parameters: &'c [Self::TypeInfo],
    ) -> BoxFuture<'c, Result<Self::Statement, sqlx::Error>>;

    fn describe(
        connection: &mut Self::Connection,
        sql: SqlStr,
    ) -> BoxFuture<'_, Result<Describe<Self>, sqlx::Error>>;
}

impl<DB> Driver for DB
where
    DB: Database,
    DB::Arguments: 'static,
    DB::Statement: 'static,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    fn fetch_many(
        connection: &mut Self::Connection,
        query: Prepared<Self>,
    ) -> BoxStream<'_, Step<Self>> {
        Executor::fetch_many(connection, query)
    }

    fn fetch_optional(
        connection: &mut Self::Connection,
        query: Prepared<Self>,
    ) -> BoxFuture<'_, Result<Option<Self::Row>, sqlx::Error>> {
        Executor::fetch_optional(connection, query)
    }

    fn prepare_with<'c>(
        connection: &'c mut Self::Connection,
        sql: SqlStr,
        parameters: &'c [Self::TypeInfo],
    ) -> BoxFuture<'c, Result<Self::Statement, sqlx::Error>> {
        Executor::prepare_with(connection, sql, parameters)
    }

    fn describe(
        connection: &mut Self::Connection,
        sql: SqlStr,
    ) -> BoxFuture<'_, Result<Describe<Self>, sqlx::Error>> {
        Executor::describe(connection, sql)
    }
}

/// Whether an error of any of the databases is worth running the transaction again for.
pub(crate) fn is_retryable(error: &sqlx::Error) -> bool {
    let judges: &[fn(&sqlx::Error) -> bool] = &[
        #[cfg(feature = "mysql")]
        sqlx::MySql::is_retryable,
        #[cfg(feature = "postgres")]
        sqlx::Postgres::is_retryable,
        #[cfg(feature = "sqlite")]
        sqlx::Sqlite::is_retryable,
    ];
    judges.iter().any(|judge| judge(error))
}

/// The part of the judgement that no driver differs in; `None` leaves it to the driver.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
fn driver_independent_fault(error: &sqlx::Error) -> Option<Fault> {
    match error {
        sqlx::Error::Database(_) => None,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => Some(Fault::Connection),
        _ => Some(Fault::Local),
    }
}
