//! SQLite.

#[cfg(feature = "history")]
mod history;
mod revision;
mod ticket;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteError;
use sqlx::{Database, SqlSafeStr, SqlStr, Sqlite, SqliteConnection};
use sqlx_core::transaction::TransactionManager;

use super::{
    Concurrency, Dialect, Driver, Fate, Fault, GRACE, Interference, LockMessages, LockTime,
    Obstacle, Options, driver_independent_fault, own_sql, sql,
};
#[cfg(feature = "history")]
use crate::dialect::history::{
    Blueprint, Damage, Place, Reader, Relation, Repair, Survey, TableName,
};
use crate::options::{Isolation, Terms};

type Transactions = <Sqlite as Database>::TransactionManager;

/// How many steps of its virtual machine a statement makes before it is asked to stop again.
const STEPS: i32 = 1000;

const CANNOT_OPEN: i32 = 14;
const NO_DATABASE: i32 = 26;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const BUSY_SNAPSHOT: i32 = 517;

fn extended_code(error: &sqlx::Error) -> Option<i32> {
    let database = error.as_database_error()?;
    database.try_downcast_ref::<SqliteError>()?;
    database.code()?.parse().ok()
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    extended_code(error).map(|code| code & 0xff)
}

fn says(error: &sqlx::Error, text: &str) -> bool {
    error
        .as_database_error()
        .is_some_and(|database| database.message().contains(text))
}

/// Whether a backslash quotes the next character inside a string, by default.
const BACKSLASHES: bool = false;

impl Dialect for Sqlite {
    const COMMIT: &'static str = "COMMIT";

    const SURVIVES_FAILED_STATEMENTS: bool = true;

    fn begin_sql(terms: Terms) -> SqlStr {
        if terms.read_only {
            return "BEGIN; PRAGMA query_only = ON".into_sql_str();
        }
        // A deferred transaction that reads first and writes later fails at once when
        // another connection wrote in between, whatever the busy timeout; taking the write
        // lock at BEGIN waits for it instead. Every level is met: SQLite is serializable.
        "BEGIN IMMEDIATE".into_sql_str()
    }

    fn restore_sql(terms: Terms) -> Option<&'static str> {
        terms.read_only.then_some("PRAGMA query_only = OFF")
    }

    // There is `query_only`, but it is the connection's, and a rollback to the savepoint would
    // not end it.
    const READ_ONLY_SAVEPOINT: Option<&'static str> = None;

    /// There is none: nothing is lost on the way to a database in this process.
    type Receipt = Infallible;

    async fn fate(
        _: &mut SqliteConnection,
        receipt: &Infallible,
        _: bool,
    ) -> Result<Fate, sqlx::Error> {
        match *receipt {}
    }

    // The driver has shorter ways to its worker thread for these three than for statements.
    // They keep a depth counter, which must be back at zero before the pool has the
    // connection again.

    async fn begin(
        connection: &mut SqliteConnection,
        sql: SqlStr,
    ) -> Result<Option<Infallible>, sqlx::Error> {
        let begun = Transactions::begin(connection, Some(sql)).await;
        begun.map(|()| None)
    }

    async fn commit(
        connection: &mut SqliteConnection,
        before: String,
        behind: String,
    ) -> Result<(), sqlx::Error> {
        // What comes behind COMMIT must not fail what is committed, and does no harm before it.
        for sql in [before, behind] {
            if !sql.is_empty() {
                Self::control(connection, own_sql(sql)).await?;
            }
        }
        Transactions::commit(connection).await
    }

    async fn roll_back(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if Transactions::get_transaction_depth(connection) == 0 {
            return Self::control(connection, "ROLLBACK".into_sql_str()).await;
        }
        match Transactions::rollback(connection).await {
            // SQLite ended the transaction by itself, and the counter does not know.
            Err(error) if Self::nothing_to_roll_back(&error) => {
                Self::control(connection, "BEGIN".into_sql_str()).await?;
                Transactions::rollback(connection).await
            }
            answer => answer,
        }
    }

    async fn has_survived(connection: &mut SqliteConnection) -> bool {
        // Some failures end the whole transaction (`OR ROLLBACK`, a full disk), and the error
        // does not say so. BEGIN fails while there is one. Where it succeeds it must not stay:
        // the statement may have run in autocommit, and nobody would roll it back.
        let begun = Self::control(connection, "BEGIN; ROLLBACK".into_sql_str()).await;
        begun.is_err_and(|error| says(&error, "within a transaction"))
    }

    /// Set to have the statement fail that runs, or is the next to run.
    type Backend = Arc<AtomicBool>;

    async fn bind(
        connection: &mut SqliteConnection,
        limit: Option<Duration>,
    ) -> Result<Arc<AtomicBool>, sqlx::Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let end = limit.and_then(|limit| Instant::now().checked_add(limit + GRACE));
        let mut handle = connection.lock_handle().await?;
        handle.set_progress_handler(STEPS, move || {
            let late = end.is_some_and(|end| Instant::now() > end);
            !late && !stopped.swap(false, Ordering::AcqRel)
        });
        Ok(stop)
    }

    const UNBIND: Option<&'static str> = None;

    async fn unbind(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        connection.lock_handle().await?.remove_progress_handler();
        Ok(())
    }

    async fn interrupt(_: Options<Self>, stop: Arc<AtomicBool>) -> Result<(), sqlx::Error> {
        stop.store(true, Ordering::Release);
        Ok(())
    }

    fn call_off(stop: &Arc<AtomicBool>) {
        stop.store(false, Ordering::Release);
    }

    fn fault(error: &sqlx::Error) -> Fault {
        driver_independent_fault(error).unwrap_or_else(|| match extended_code(error) {
            Some(BUSY_SNAPSHOT) => Fault::Transaction,
            _ => Fault::Statement,
        })
    }

    fn is_retryable(error: &sqlx::Error) -> bool {
        matches!(primary_code(error), Some(BUSY | LOCKED))
    }

    fn ended_early(error: &sqlx::Error) -> bool {
        says(error, "no transaction is active")
    }

    fn may_have_committed(error: &sqlx::Error, _: bool) -> bool {
        // What is sent behind COMMIT runs before it.
        Self::fault(error) == Fault::Connection
    }

    fn found_open_transaction(error: &sqlx::Error) -> bool {
        // The second is the driver's counter, which another user of the pool left behind.
        says(error, "within a transaction")
            || matches!(error, sqlx::Error::InvalidSavePointStatement)
    }

    fn nothing_to_roll_back(error: &sqlx::Error) -> bool {
        says(error, "no transaction is active")
    }

    fn interference(sql: &str) -> Option<Interference> {
        sql::controls_transaction(sql, BACKSLASHES).then_some(Interference::Control)
    }

    fn reads_only(sql: &str) -> bool {
        sql::Words::of(sql).next_is(&["select", "values", "explain"])
    }

    const LOCKS: bool = false;

    fn take_locks(_: &[Arc<str>], _: Duration, _: LockTime) -> LockMessages {
        LockMessages::default()
    }

    fn lock_was_busy(_: &sqlx::Error) -> bool {
        false
    }

    fn lock_came_too_late(_: &sqlx::Error) -> bool {
        false
    }

    async fn lock_holder(_: &mut SqliteConnection, _: &str) -> Option<String> {
        None
    }

    async fn keeps_snapshot(
        _: &mut SqliteConnection,
        _: Option<Isolation>,
    ) -> Result<bool, sqlx::Error> {
        // A transaction is the only writer from its first moment, so what it reads is fresh.
        Ok(false)
    }

    async fn fence(
        connection: &mut SqliteConnection,
        key: &str,
        token: i64,
    ) -> Result<Option<i64>, sqlx::Error> {
        let fence = "INSERT INTO tx_fence (name, token) VALUES (?, ?) \
                     ON CONFLICT (name) DO UPDATE SET token = max(token, excluded.token) RETURNING token";
        let fence = sqlx::query_scalar(fence).bind(key).bind(token);
        let seen: i64 = fence.fetch_one(connection).await?;
        Ok(Some(seen).filter(|seen| *seen > token))
    }

    fn lacks_fence_table(error: &sqlx::Error) -> bool {
        says(error, "no such table: tx_fence")
    }

    const FENCE_TABLE: &'static str = "CREATE TABLE IF NOT EXISTS tx_fence (\
         name TEXT PRIMARY KEY, \
         token INTEGER NOT NULL)";

    fn introduce(actor: Option<&str>, reason: Option<&str>) -> String {
        revision::introduce(actor, reason)
    }

    const FINISH_REVISION: Option<&'static str> = Some(revision::FINISH);

    const FORGET_AUTHOR: Option<&'static str> = None;

    const OPEN_REVISION: &'static str = revision::TABLE;

    fn lacks_history(error: &sqlx::Error) -> bool {
        says(error, "no such table: tx_open_revision")
    }

    const RECORDS_STRANGERS: bool = false;

    async fn revision(connection: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
        revision::current(connection).await
    }

    #[cfg(feature = "history")]
    async fn survey(
        connection: &mut SqliteConnection,
        table: &TableName,
    ) -> Result<Survey, sqlx::Error> {
        history::survey(connection, table).await
    }

    #[cfg(feature = "history")]
    async fn audited(connection: &mut SqliteConnection) -> Result<Vec<TableName>, sqlx::Error> {
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
        format!("SQLite at `{}`", options.get_filename().display())
    }

    fn obstacle(options: &Options<Self>, error: &sqlx::Error) -> Obstacle {
        match primary_code(error) {
            Some(CANNOT_OPEN) if !options.get_filename().exists() => Obstacle::NoFile,
            Some(CANNOT_OPEN | NO_DATABASE) => Obstacle::Unopenable,
            _ => Obstacle::Other,
        }
    }

    fn concurrency(options: &Options<Self>) -> Concurrency {
        // The two switches have no getter, and the URL of an in-memory database cannot be
        // rendered (sqlx 0.9.0 panics on it); the debug form shows them.
        let shown = format!("{options:?}");
        let in_memory = shown.contains("in_memory: true") || shown.contains("shared_cache: true");
        if in_memory {
            Concurrency::Exclusive
        } else {
            Concurrency::SingleWriter
        }
    }
}
