//! Tickets in SQLite.

use std::sync::Arc;

use sqlx::sqlite::{SqliteQueryResult, SqliteRow};
use sqlx::{Row, Sqlite};

use super::says;
use crate::dialect::sql::hex;
use crate::dialect::ticket::{BEFORE, Framed, TicketWords};

impl TicketWords for Sqlite {
    const TABLES: &'static str = "CREATE TABLE IF NOT EXISTS tx_ticket (\
         id INTEGER PRIMARY KEY AUTOINCREMENT, \
         name TEXT NOT NULL, \
         label TEXT NOT NULL, \
         state TEXT NOT NULL CHECK (state IN ('WAITING', 'RUNNING', 'DONE', 'FAILED', 'ABANDONED', 'CANCELLED')), \
         token INTEGER, \
         process INTEGER NOT NULL, \
         request INTEGER NOT NULL, \
         owner TEXT NOT NULL, \
         waits_on INTEGER, \
         requested TEXT NOT NULL, \
         started TEXT, \
         deadline TEXT, \
         ended TEXT, \
         error TEXT, \
         CHECK ((state IN ('WAITING', 'RUNNING')) = (ended IS NULL)), \
         CHECK ((token IS NULL) = (started IS NULL)), \
         CHECK (state <> 'WAITING' OR token IS NULL), \
         CHECK (state NOT IN ('RUNNING', 'DONE', 'FAILED') OR token IS NOT NULL)); \
         CREATE UNIQUE INDEX IF NOT EXISTS tx_ticket_running ON tx_ticket (name) WHERE state = 'RUNNING'; \
         CREATE UNIQUE INDEX IF NOT EXISTS tx_ticket_token ON tx_ticket (name, token); \
         CREATE UNIQUE INDEX IF NOT EXISTS tx_ticket_request ON tx_ticket (process, request, name); \
         CREATE INDEX IF NOT EXISTS tx_ticket_line ON tx_ticket (state, name, id); \
         CREATE TABLE IF NOT EXISTS tx_ticket_process (\
         id INTEGER PRIMARY KEY, \
         name TEXT NOT NULL, \
         lease INTEGER NOT NULL, \
         heartbeat TEXT NOT NULL)";

    const NOW: &'static str = "strftime('%Y-%m-%d %H:%M:%f', 'now')";

    const STALE: &'static str =
        "(julianday('now') - julianday(p.heartbeat)) * 86400000.0 > p.lease";

    const WRITER_SILENCES_OTHERS: bool = true;

    fn in_millis(millis: u64) -> String {
        let (seconds, rest) = (millis / 1000, millis % 1000);
        format!("strftime('%Y-%m-%d %H:%M:%f', 'now', '+{seconds}.{rest:03} seconds')")
    }

    fn micros(time: &str) -> String {
        format!("CAST(round((julianday({time}) - 2440587.5) * 86400000.0) AS INTEGER) * 1000")
    }

    fn key(key: &str) -> String {
        Self::text(key)
    }

    fn text(text: &str) -> String {
        format!("CAST(X'{}' AS TEXT)", hex(&[text]))
    }

    fn key_text(column: &str) -> String {
        column.to_owned()
    }

    fn framed(_: &[Arc<str>], body: &str) -> Framed {
        Framed {
            sql: format!("BEGIN IMMEDIATE; {body}; COMMIT"),
            undo: None,
        }
    }

    fn insert_new(columns: &str, select: &str) -> String {
        format!("INSERT OR IGNORE INTO tx_ticket ({columns}) {select}")
    }

    fn claim(mine: &str, count: usize, also: &str) -> String {
        format!(
            "UPDATE tx_ticket AS t SET state = 'RUNNING', {also}, \
             token = 1 + COALESCE((SELECT max(w.token) FROM tx_ticket w WHERE w.name = t.name), 0) \
             WHERE {mine} AND t.state = 'WAITING' AND {count} = (\
             SELECT count(*) FROM tx_ticket m WHERE {} AND m.state = 'WAITING' \
             AND NOT EXISTS (SELECT 1 FROM tx_ticket b WHERE {BEFORE}))",
            mine.replace("t.", "m.")
        )
    }

    fn purge(old: &str) -> String {
        format!(
            "DELETE FROM tx_ticket AS t WHERE {old} AND (t.token IS NULL \
             OR t.token < (SELECT max(w.token) FROM tx_ticket w WHERE w.name = t.name))"
        )
    }

    fn verify(mine: &str, count: usize, _: bool) -> String {
        // It is the only writer, so nobody changes them.
        failing_unless(
            &format!("(SELECT count(*) FROM tx_ticket t WHERE {mine})"),
            count,
        )
    }

    fn update_exactly(set: &str, mine: &str, count: usize) -> String {
        format!(
            "UPDATE tx_ticket AS t SET {set} WHERE {mine}; {}",
            failing_unless("changes()", count)
        )
    }

    fn lacks_rows(error: &sqlx::Error) -> bool {
        says(error, "integer overflow")
    }

    fn lacks_tables(error: &sqlx::Error) -> bool {
        says(error, "no such table: tx_ticket")
    }

    fn cells(row: &SqliteRow) -> Result<Vec<Option<String>>, sqlx::Error> {
        (0..row.len()).map(|at| row.try_get_unchecked(at)).collect()
    }

    fn changed(done: &SqliteQueryResult) -> u64 {
        done.rows_affected()
    }
}

/// The smallest integer has no absolute value.
fn failing_unless(number: &str, count: usize) -> String {
    format!(
        "SELECT 1 WHERE CASE {number} WHEN {count} THEN 1 ELSE abs(-9223372036854775807 - 1) END = 0"
    )
}
