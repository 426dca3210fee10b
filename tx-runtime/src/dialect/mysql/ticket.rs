//! Tickets in MySQL and MariaDB.
//!
//! MySQL cannot read in a subquery what it updates, so here more steps are taken than
//! elsewhere; and there are no partial indexes, so a generated column stands in for one.

use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::mysql::{MySqlQueryResult, MySqlRow};
use sqlx::{MySql, Row};

use super::{NO_SUCH_TABLE, number as code, says};
use crate::dialect::sql::hex;
use crate::dialect::ticket::{BEFORE, Framed, TicketWords};

/// A number too big for the server's integers: how a message fails that lacks a lock or a row.
const OUT_OF_RANGE: u16 = 1690;

/// How long a message waits for others that are about the same key, in seconds. They wait for
/// nobody, so it is less by far.
const PATIENCE: u32 = 5;

const RESTORE: &str = "SET SESSION innodb_lock_wait_timeout = @tx_patience";

impl TicketWords for MySql {
    // Every collation that both know takes `k` and `k ` for one name.
    const TABLES: &'static str = "CREATE TABLE IF NOT EXISTS tx_ticket (\
         id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, \
         name varbinary(500) NOT NULL, \
         label varchar(200) CHARACTER SET utf8mb4 NOT NULL, \
         state varchar(9) CHARACTER SET ascii NOT NULL CHECK (state IN ('WAITING', 'RUNNING', 'DONE', 'FAILED', 'ABANDONED', 'CANCELLED')), \
         token bigint, \
         process bigint NOT NULL, \
         request bigint NOT NULL, \
         owner text CHARACTER SET utf8mb4 NOT NULL, \
         waits_on bigint, \
         requested datetime(6) NOT NULL, \
         started datetime(6), \
         deadline datetime(6), \
         ended datetime(6), \
         error text CHARACTER SET utf8mb4, \
         running varbinary(500) GENERATED ALWAYS AS (CASE state WHEN 'RUNNING' THEN name END) STORED, \
         CHECK ((state IN ('WAITING', 'RUNNING')) = (ended IS NULL)), \
         CHECK ((token IS NULL) = (started IS NULL)), \
         CHECK (state <> 'WAITING' OR token IS NULL), \
         CHECK (state NOT IN ('RUNNING', 'DONE', 'FAILED') OR token IS NOT NULL), \
         UNIQUE KEY tx_ticket_running (running), \
         UNIQUE KEY tx_ticket_token (name, token), \
         UNIQUE KEY tx_ticket_request (process, request, name), \
         KEY tx_ticket_line (state, name, id)) ENGINE = InnoDB; \
         CREATE TABLE IF NOT EXISTS tx_ticket_process (\
         id bigint NOT NULL PRIMARY KEY, \
         name text CHARACTER SET utf8mb4 NOT NULL, \
         lease bigint NOT NULL, \
         heartbeat datetime(6) NOT NULL) ENGINE = InnoDB";

    const NOW: &'static str = "UTC_TIMESTAMP(6)";

    const STALE: &'static str =
        "p.heartbeat + INTERVAL p.lease * 1000 MICROSECOND < UTC_TIMESTAMP(6)";

    const WRITER_SILENCES_OTHERS: bool = false;

    fn in_millis(millis: u64) -> String {
        format!("UTC_TIMESTAMP(6) + INTERVAL {} MICROSECOND", millis * 1000)
    }

    fn micros(time: &str) -> String {
        format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {time})")
    }

    fn key(key: &str) -> String {
        format!("X'{}'", hex(&[key]))
    }

    fn text(text: &str) -> String {
        format!("CONVERT(X'{}' USING utf8mb4)", hex(&[text]))
    }

    fn key_text(column: &str) -> String {
        format!("CONVERT({column} USING utf8mb4)")
    }

    fn framed(keys: &[Arc<str>], body: &str) -> Framed {
        let name = |key: &Arc<str>| {
            let digits = hex(&[key]);
            format!(
                "SHA2(CONCAT('tx_ticket:', HEX(COALESCE(DATABASE(), '')), ':', '{digits}'), 256)"
            )
        };
        let mut sql = format!(
            "ROLLBACK; SET @tx_patience = @@SESSION.innodb_lock_wait_timeout, SESSION innodb_lock_wait_timeout = {PATIENCE}; "
        );
        let mut undo = String::new();
        for key in keys {
            let _ = write!(
                sql,
                "SET @tx_lock = 18446744073709551615 + (1 - COALESCE(GET_LOCK({}, {PATIENCE}), 0)); ",
                name(key)
            );
            let _ = write!(undo, "DO RELEASE_LOCK({}); ", name(key));
        }
        undo.push_str(RESTORE);
        let _ = write!(
            sql,
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ WRITE; {body}; COMMIT; {undo}"
        );
        Framed {
            sql,
            undo: Some(undo),
        }
    }

    fn insert_new(columns: &str, select: &str) -> String {
        format!("INSERT IGNORE INTO tx_ticket ({columns}) {select}")
    }

    fn claim(mine: &str, count: usize, also: &str) -> String {
        let mine = mine.replace("t.", "m.");
        let ready = format!(
            "FROM tx_ticket m WHERE {mine} AND m.state = 'WAITING' \
             AND NOT EXISTS (SELECT 1 FROM tx_ticket b WHERE {BEFORE})"
        );
        format!(
            "SELECT COUNT(*) INTO @tx_ready {ready}; \
             UPDATE tx_ticket t JOIN (SELECT m.id, 1 + COALESCE((\
             SELECT MAX(w.token) FROM tx_ticket w WHERE w.name = m.name), 0) AS token {ready}) r ON r.id = t.id \
             SET t.state = 'RUNNING', {also}, t.token = r.token \
             WHERE t.state = 'WAITING' AND @tx_ready = {count}; \
             SET @tx_claimed = 18446744073709551615 + (ROW_COUNT() NOT IN (0, {count}))"
        )
    }

    fn purge(old: &str) -> String {
        format!(
            "DELETE t FROM tx_ticket t \
             LEFT JOIN (SELECT name, MAX(token) AS token FROM tx_ticket GROUP BY name) w ON w.name = t.name \
             WHERE {old} AND (t.token IS NULL OR t.token < w.token)"
        )
    }

    fn verify(mine: &str, count: usize, keep: bool) -> String {
        let locked = if keep { "FOR UPDATE" } else { "" };
        format!(
            "SELECT COUNT(*) INTO @tx_kept FROM tx_ticket t WHERE {mine} {locked}; {}",
            failing_unless("@tx_kept", count)
        )
    }

    fn update_exactly(set: &str, mine: &str, count: usize) -> String {
        format!(
            "UPDATE tx_ticket t SET {set} WHERE {mine}; {}",
            failing_unless("ROW_COUNT()", count)
        )
    }

    fn lacks_rows(error: &sqlx::Error) -> bool {
        code(error) == Some(OUT_OF_RANGE)
    }

    fn lacks_tables(error: &sqlx::Error) -> bool {
        code(error) == Some(NO_SUCH_TABLE) && says(error, "tx_ticket")
    }

    fn cells(row: &MySqlRow) -> Result<Vec<Option<String>>, sqlx::Error> {
        (0..row.len()).map(|at| row.try_get_unchecked(at)).collect()
    }

    fn changed(done: &MySqlQueryResult) -> u64 {
        done.rows_affected()
    }
}

fn failing_unless(number: &str, count: usize) -> String {
    format!("SET @tx_lost = 18446744073709551615 + ({number} <> {count})")
}
