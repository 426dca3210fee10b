//! Tickets in PostgreSQL.

use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::postgres::{PgQueryResult, PgRow};
use sqlx::{Postgres, Row};

use super::{UNDEFINED_TABLE, code, says};
use crate::dialect::sql::hex;
use crate::dialect::ticket::{BEFORE, Framed, TicketWords};

/// Tells our locks from others that use advisory locks in the same database.
const NAMESPACE: &str = "tx_ticket:";

/// How long a message waits for others that are about the same key. They wait for nobody, so
/// it is less by far.
const PATIENCE: &str = "5s";

const LOST: &str = "tx_runtime: ticket is lost";

impl TicketWords for Postgres {
    const TABLES: &'static str = "CREATE TABLE IF NOT EXISTS tx_ticket (\
         id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
         name text NOT NULL, \
         label text NOT NULL, \
         state text NOT NULL CHECK (state IN ('WAITING', 'RUNNING', 'DONE', 'FAILED', 'ABANDONED', 'CANCELLED')), \
         token bigint, \
         process bigint NOT NULL, \
         request bigint NOT NULL, \
         owner text NOT NULL, \
         waits_on bigint, \
         requested timestamptz NOT NULL, \
         started timestamptz, \
         deadline timestamptz, \
         ended timestamptz, \
         error text, \
         CHECK ((state IN ('WAITING', 'RUNNING')) = (ended IS NULL)), \
         CHECK ((token IS NULL) = (started IS NULL)), \
         CHECK (state <> 'WAITING' OR token IS NULL), \
         CHECK (state NOT IN ('RUNNING', 'DONE', 'FAILED') OR token IS NOT NULL)); \
         CREATE UNIQUE INDEX IF NOT EXISTS tx_ticket_running ON tx_ticket (name) WHERE state = 'RUNNING'; \
         CREATE UNIQUE INDEX IF NOT EXISTS tx_ticket_token ON tx_ticket (name, token); \
         CREATE UNIQUE INDEX IF NOT EXISTS tx_ticket_request ON tx_ticket (process, request, name); \
         CREATE INDEX IF NOT EXISTS tx_ticket_line ON tx_ticket (state, name, id); \
         CREATE TABLE IF NOT EXISTS tx_ticket_process (\
         id bigint PRIMARY KEY, \
         name text NOT NULL, \
         lease bigint NOT NULL, \
         heartbeat timestamptz NOT NULL)";

    const NOW: &'static str = "clock_timestamp()";

    const STALE: &'static str =
        "p.heartbeat + p.lease * interval '1 millisecond' < clock_timestamp()";

    const WRITER_SILENCES_OTHERS: bool = false;

    fn in_millis(millis: u64) -> String {
        format!("clock_timestamp() + {millis} * interval '1 millisecond'")
    }

    fn micros(time: &str) -> String {
        format!("(extract(epoch FROM {time}) * 1000000)::bigint")
    }

    fn key(key: &str) -> String {
        Self::text(key)
    }

    fn text(text: &str) -> String {
        format!("convert_from(decode('{}', 'hex'), 'UTF8')", hex(&[text]))
    }

    fn key_text(column: &str) -> String {
        column.to_owned()
    }

    fn framed(keys: &[Arc<str>], body: &str) -> Framed {
        let mut sql = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '{PATIENCE}'; "
        );
        for key in keys {
            // By itself, so that what follows sees what was committed under it.
            let _ = write!(
                sql,
                "SELECT WHERE pg_advisory_xact_lock(('x' || left(encode(sha256(decode('{}', 'hex')), 'hex'), 16))::bit(64)::bigint) IS NULL; ",
                hex(&[NAMESPACE, key])
            );
        }
        let _ = write!(sql, "{body}; COMMIT");
        Framed { sql, undo: None }
    }

    fn insert_new(columns: &str, select: &str) -> String {
        format!("INSERT INTO tx_ticket ({columns}) {select} ON CONFLICT DO NOTHING")
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

    fn verify(mine: &str, count: usize, keep: bool) -> String {
        let locked = if keep { "FOR UPDATE" } else { "" };
        let kept = format!(
            "(SELECT count(*) FROM (SELECT 1 FROM tx_ticket t WHERE {mine} {locked}) AS kept)"
        );
        failing_unless(&kept, count)
    }

    fn update_exactly(set: &str, mine: &str, count: usize) -> String {
        format!(
            "WITH changed AS (UPDATE tx_ticket AS t SET {set} WHERE {mine} RETURNING 1) {}",
            failing_unless("(SELECT count(*) FROM changed)", count)
        )
    }

    fn lacks_rows(error: &sqlx::Error) -> bool {
        says(error, LOST)
    }

    fn lacks_tables(error: &sqlx::Error) -> bool {
        code(error) == Some(UNDEFINED_TABLE) && says(error, "tx_ticket")
    }

    fn cells(row: &PgRow) -> Result<Vec<Option<String>>, sqlx::Error> {
        (0..row.len()).map(|at| row.try_get_unchecked(at)).collect()
    }

    fn changed(done: &PgQueryResult) -> u64 {
        done.rows_affected()
    }
}

/// No column and no row: nothing to decode.
fn failing_unless(number: &str, count: usize) -> String {
    format!("SELECT WHERE (CASE {number} WHEN {count} THEN '1' ELSE '{LOST}' END)::int = 0")
}
