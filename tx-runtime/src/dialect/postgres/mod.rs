//! PostgreSQL.

#[cfg(feature = "history")]
mod history;
mod lock;
mod receipt;
mod revision;
mod ticket;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgDatabaseError;
use sqlx::{ConnectOptions, Connection, PgConnection, Postgres, Row, SqlSafeStr, SqlStr};

use self::receipt::{Receipt, receipt};
use super::{
    Concurrency, Dialect, Driver, Fate, Fault, GRACE, Interference, LockMessages, LockTime,
    Obstacle, Options, TicketWords as _, address, driver_independent_fault, own_sql, sql,
};
#[cfg(feature = "history")]
use crate::dialect::history::{
    Blueprint, Damage, Place, Reader, Relation, Repair, Survey, TableName,
};
use crate::options::{Isolation, Terms};
use crate::prepared::Prepared;

const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK: &str = "40P01";
const LOCK_NOT_AVAILABLE: &str = "55P03";
const ACTIVE_TRANSACTION: &str = "25001";
const ABORTED_TRANSACTION: &str = "25P02";
const NO_ACTIVE_TRANSACTION: &str = "25P01";
const INVALID_STATEMENT_NAME: &str = "26000";
const UNDEFINED_TABLE: &str = "42P01";

fn code(error: &sqlx::Error) -> Option<&str> {
    let database = error.as_database_error()?;
    Some(database.try_downcast_ref::<PgDatabaseError>()?.code())
}

fn says(error: &sqlx::Error, text: &str) -> bool {
    error
        .as_database_error()
        .is_some_and(|database| database.message().contains(text))
}

fn lost_connection(code: &str) -> bool {
    code.starts_with("08")
        || matches!(
            code,
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04"
        )
}

/// Whether the server's prepared statements are not those that the driver has noted down: what one
/// of them reads has been altered, or they were thrown away.
///
/// The driver goes on using them, so this comes again on the same connection, and not on another.
fn has_stale_statements(error: &sqlx::Error) -> bool {
    let database = error.as_database_error();
    let database = database.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    database.is_some_and(|error| {
        // `cached plan must not change result type` has no code of its own.
        error.code() == INVALID_STATEMENT_NAME || error.routine() == Some("RevalidateCachedQuery")
    })
}

/// Whether a backslash quotes the next character inside a string, by default.
const BACKSLASHES: bool = false;

// BEGIN inside a transaction that somebody left open on the connection only warns; there now()
// is older than this message, and the cast fails.

/// One message that begins a transaction which stores nothing. No column and no row: nothing to
/// decode.
fn begin_sql(isolation: Option<Isolation>) -> &'static str {
    match isolation {
        None => {
            "BEGIN; SELECT WHERE (CASE WHEN now() = statement_timestamp() THEN '1' ELSE 'tx_runtime: left open' END)::int = 0"
        }
        Some(Isolation::ReadUncommitted) => {
            "BEGIN ISOLATION LEVEL READ UNCOMMITTED; SELECT WHERE (CASE WHEN now() = statement_timestamp() THEN '1' ELSE 'tx_runtime: left open' END)::int = 0"
        }
        Some(Isolation::ReadCommitted) => {
            "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT WHERE (CASE WHEN now() = statement_timestamp() THEN '1' ELSE 'tx_runtime: left open' END)::int = 0"
        }
        // At these levels that query would fix the snapshot too early. After a first query
        // the server refuses another level than the one in force, and one of these two is
        // another.
        Some(Isolation::RepeatableRead) => {
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
        }
        Some(Isolation::Serializable) => {
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"
        }
    }
}

/// The same for one that may write, with its [`Receipt`]; a standby gives none.
///
/// The receipt fixes the snapshot of the levels that keep one; the first statement, for whose
/// sake the transaction begins, comes right behind.
fn begin_writing_sql(isolation: Option<Isolation>) -> &'static str {
    macro_rules! begin {
        ($level:literal) => {
            concat!(
                "BEGIN",
                $level,
                "; SELECT ",
                receipt!(),
                " WHERE (CASE WHEN now() <> statement_timestamp() THEN 'tx_runtime: left open' \
                 WHEN pg_is_in_recovery() THEN '0' ELSE '1' END)::int = 1"
            )
        };
    }
    match isolation {
        None => begin!(""),
        Some(Isolation::ReadUncommitted) => begin!(" ISOLATION LEVEL READ UNCOMMITTED"),
        Some(Isolation::ReadCommitted) => begin!(" ISOLATION LEVEL READ COMMITTED"),
        Some(Isolation::RepeatableRead) => begin!(" ISOLATION LEVEL REPEATABLE READ"),
        Some(Isolation::Serializable) => begin!(" ISOLATION LEVEL SERIALIZABLE"),
    }
}

fn begin_text(terms: Terms) -> String {
    if terms.read_only {
        return begin_sql(terms.isolation).replacen("BEGIN", "BEGIN READ ONLY", 1);
    }
    begin_writing_sql(terms.isolation).to_owned()
}

impl Dialect for Postgres {
    // A COMMIT in an aborted transaction is answered like a good one (only the command tag
    // says ROLLBACK, and the driver does not show it), and so is one without a transaction.
    // SAVEPOINT fails in both, and then COMMIT is not reached.
    const COMMIT: &'static str = "SAVEPOINT tx_scope_end; COMMIT";

    const SURVIVES_FAILED_STATEMENTS: bool = false;

    fn begin_sql(terms: Terms) -> SqlStr {
        if terms.read_only {
            return own_sql(begin_text(terms));
        }
        begin_writing_sql(terms.isolation).into_sql_str()
    }

    type Receipt = Receipt;

    async fn begin(
        connection: &mut PgConnection,
        sql: SqlStr,
    ) -> Result<Option<Receipt>, sqlx::Error> {
        let taken = Instant::now();
        let row = Self::fetch_optional(connection, Prepared::of(sql)).await?;
        Ok(row.and_then(|row| Receipt::read(&row, taken)))
    }

    async fn fate(
        connection: &mut PgConnection,
        receipt: &Receipt,
        impatient: bool,
    ) -> Result<Fate, sqlx::Error> {
        receipt.fate(connection, impatient).await
    }

    const READ_ONLY_SAVEPOINT: Option<&'static str> = Some("SET TRANSACTION READ ONLY");

    /// The server's process.
    type Backend = i32;

    async fn bind(
        connection: &mut PgConnection,
        limit: Option<Duration>,
    ) -> Result<i32, sqlx::Error> {
        let sql = match limit {
            None => "SELECT pg_backend_pid()".to_owned(),
            Some(limit) => {
                // We stop it in time ourselves; this is for when nobody polls us.
                let limit = (limit + GRACE)
                    .as_millis()
                    .min(i32::MAX.unsigned_abs().into());
                format!(
                    "SET LOCAL statement_timeout = {limit}; \
                     SET LOCAL idle_in_transaction_session_timeout = {limit}; \
                     SELECT pg_backend_pid()"
                )
            }
        };
        sqlx::raw_sql(own_sql(sql))
            .fetch_one(connection)
            .await?
            .try_get(0)
    }

    const UNBIND: Option<&'static str> = None;

    async fn interrupt(options: Options<Self>, backend: i32) -> Result<(), sqlx::Error> {
        let mut connection = options.connect().await?;
        // Not prepared: that would be a round trip more.
        let sql = own_sql(format!("SELECT pg_cancel_backend({backend})"));
        sqlx::raw_sql(sql).execute(&mut connection).await?;
        connection.close().await
    }

    fn fault(error: &sqlx::Error) -> Fault {
        driver_independent_fault(error).unwrap_or_else(|| match code(error) {
            Some(code) if lost_connection(code) => Fault::Connection,
            // After ROLLBACK TO the server still fails every conflicting statement and the
            // COMMIT (40001), or does so on the other databases (deadlock).
            Some(SERIALIZATION_FAILURE | DEADLOCK) => Fault::Transaction,
            _ if has_stale_statements(error) => Fault::Connection,
            _ => Fault::Statement,
        })
    }

    fn is_retryable(error: &sqlx::Error) -> bool {
        let is_conflict = matches!(
            code(error),
            Some(SERIALIZATION_FAILURE | DEADLOCK | LOCK_NOT_AVAILABLE)
        );
        is_conflict || has_stale_statements(error)
    }

    fn ended_early(error: &sqlx::Error) -> bool {
        code(error) == Some(NO_ACTIVE_TRANSACTION)
    }

    fn may_have_committed(error: &sqlx::Error, behind: bool) -> bool {
        // Nothing behind COMMIT fails with these.
        let refused = Self::is_retryable(error)
            || Self::lacks_rows(error)
            || code(error)
                .is_some_and(|code| code.starts_with("23") || code == ABORTED_TRANSACTION);
        Self::fault(error) == Fault::Connection || (behind && !refused)
    }

    fn found_open_transaction(error: &sqlx::Error) -> bool {
        matches!(code(error), Some(ACTIVE_TRANSACTION | ABORTED_TRANSACTION))
            || says(error, "tx_runtime: left open")
    }

    fn nothing_to_roll_back(_: &sqlx::Error) -> bool {
        // ROLLBACK without a transaction is a warning, not an error.
        false
    }

    fn interference(sql: &str) -> Option<Interference> {
        sql::controls_transaction(sql, BACKSLASHES).then_some(Interference::Control)
    }

    fn reads_only(_: &str) -> bool {
        false
    }

    const LOCKS: bool = true;

    fn take_locks(keys: &[Arc<str>], wait: Duration, when: LockTime) -> LockMessages {
        lock::take_locks(keys, wait, when)
    }

    fn lock_was_busy(error: &sqlx::Error) -> bool {
        lock::was_busy(error)
    }

    fn lock_came_too_late(error: &sqlx::Error) -> bool {
        lock::came_too_late(error)
    }

    async fn lock_holder(connection: &mut PgConnection, key: &str) -> Option<String> {
        lock::holder(connection, key).await
    }

    async fn keeps_snapshot(
        connection: &mut PgConnection,
        isolation: Option<Isolation>,
    ) -> Result<bool, sqlx::Error> {
        lock::keeps_snapshot(connection, isolation).await
    }

    async fn fence(
        connection: &mut PgConnection,
        key: &str,
        token: i64,
    ) -> Result<Option<i64>, sqlx::Error> {
        lock::fence(connection, key, token).await
    }

    fn lacks_fence_table(error: &sqlx::Error) -> bool {
        code(error) == Some(UNDEFINED_TABLE)
    }

    const FENCE_TABLE: &'static str = lock::FENCE_TABLE;

    fn introduce(actor: Option<&str>, reason: Option<&str>) -> String {
        revision::introduce(actor, reason)
    }

    const FINISH_REVISION: Option<&'static str> = None;

    const FORGET_AUTHOR: Option<&'static str> = None;

    const OPEN_REVISION: &'static str = "";

    fn lacks_history(_: &sqlx::Error) -> bool {
        false
    }

    const RECORDS_STRANGERS: bool = true;

    async fn revision(connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
        revision::current(connection).await
    }

    #[cfg(feature = "history")]
    async fn survey(
        connection: &mut PgConnection,
        table: &TableName,
    ) -> Result<Survey, sqlx::Error> {
        history::survey(connection, table).await
    }

    #[cfg(feature = "history")]
    async fn audited(connection: &mut PgConnection) -> Result<Vec<TableName>, sqlx::Error> {
        history::audited(connection).await
    }

    #[cfg(feature = "history")]
    fn blueprint(place: &Place, table: &Relation) -> Blueprint {
        history::blueprint(place, table)
    }

    #[cfg(feature = "history")]
    fn repair(repair: &Repair, damage: &Damage) -> String {
        history::repair(repair, damage)
    }

    #[cfg(feature = "history")]
    fn reader(place: &Place) -> Reader {
        history::reader(place)
    }

    fn place(options: &Options<Self>) -> String {
        let (host, port) = (options.get_host(), options.get_port());
        // To the driver, a host that begins like a path is the directory of a socket.
        let directory = options.get_socket().map(PathBuf::as_path);
        let directory = directory.or_else(|| host.starts_with('/').then_some(host.as_ref()));
        let at = directory.map_or_else(
            || format!("{host}:{port}"),
            |directory| format!("{}/.s.PGSQL.{port}", directory.display()),
        );
        let user = options.get_username();
        address::of_server("PostgreSQL", &at, options.get_database(), user)
    }

    fn obstacle(_: &Options<Self>, error: &sqlx::Error) -> Obstacle {
        match code(error) {
            Some("28000" | "28P01" | "42501") => Obstacle::Denied,
            Some("3D000") => Obstacle::NoDatabase,
            Some("53300") => Obstacle::Full,
            Some("57P03") => Obstacle::NotReady,
            _ => Obstacle::of_network(error),
        }
    }

    fn concurrency(_: &Options<Self>) -> Concurrency {
        Concurrency::Concurrent
    }
}
