//! Where the SQL of tickets differs from one database to another.
//!
//! The statements themselves are put together in `tickets`; these are the words for it. What
//! depends on callers comes as hexadecimal digits, so that no quoting can go wrong.

use std::sync::Arc;

use super::Driver;

/// Some statements that belong together, as one message: the server goes through with it
/// whatever becomes of the process that sent it.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    pub sql: String,
    /// What undoes, after a ROLLBACK, what a failure half-way has left of it.
    pub undo: Option<String>,
}

/// The words of one database.
#[doc(hidden)]
pub trait TicketWords: Driver {
    /// The tables, if they are not there yet.
    const TABLES: &'static str;

    /// The time at this moment, by the database's clock.
    const NOW: &'static str;

    /// The process `p` has not been heard of for longer than its lease.
    const STALE: &'static str;

    /// Whether somebody who writes keeps all others from saying that they are alive.
    const WRITER_SILENCES_OTHERS: bool;

    /// The time in so many milliseconds.
    fn in_millis(millis: u64) -> String;

    /// Microseconds since 1970 of a time.
    fn micros(time: &str) -> String;

    /// A key, or a text, as a literal.
    fn key(key: &str) -> String;

    /// A text as a literal.
    fn text(text: &str) -> String;

    /// The key in a column, as text.
    fn key_text(column: &str) -> String;

    /// `body` as one transaction that nobody else is in who has framed one of the same keys.
    fn framed(keys: &[Arc<str>], body: &str) -> Framed;

    /// Inserts what `select` gives, unless it is there already.
    fn insert_new(columns: &str, select: &str) -> String;

    /// Sets the rows that `mine` tells to RUNNING if they are `count` and nobody is before
    /// them, and gives each the next token of its key. `also` is set as well.
    fn claim(mine: &str, count: usize, also: &str) -> String;

    /// Deletes ended rows that `old` tells, but not the last token of a key.
    fn purge(old: &str) -> String;

    /// Fails unless there are `count` rows for which `mine` holds. `keep`: and keeps them as they
    /// are until the end of the transaction, which may write then.
    fn verify(mine: &str, count: usize, keep: bool) -> String;

    /// Updates the rows for which `mine` holds, and fails unless they are `count`.
    fn update_exactly(set: &str, mine: &str, count: usize) -> String;

    /// Whether `error` is the failure of [`verify`](Self::verify) or
    /// [`update_exactly`](Self::update_exactly).
    fn lacks_rows(error: &sqlx::Error) -> bool;

    /// Whether `error` says that the tables are missing.
    fn lacks_tables(error: &sqlx::Error) -> bool;

    /// The cells of a row.
    fn cells(row: &Self::Row) -> Result<Vec<Option<String>>, sqlx::Error>;

    /// How many rows a statement has changed.
    fn changed(done: &Self::QueryResult) -> u64;
}

/// What is before the row `m` in the line for its key.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(super) const BEFORE: &str = "b.name = m.name AND b.state IN ('WAITING', 'RUNNING') \
     AND (b.state = 'RUNNING' OR b.id < m.id) AND b.id <> m.id";
