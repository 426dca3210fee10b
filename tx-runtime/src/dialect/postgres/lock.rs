//! Advisory locks and fencing tokens of PostgreSQL.
//!
//! An advisory lock is a 64-bit number of the database: the first half of a SHA-256 over the
//! key. Keys travel as hexadecimal digits, so that no quoting can go wrong.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgConnection, Row};

use super::{Isolation, Terms, begin_sql, begin_text, says};
use crate::dialect::{LockMessages, LockTime, own_sql, sql::hex};

/// Tells our locks from others that use advisory locks in the same database.
const NAMESPACE: &str = "tx_runtime:";

const BUSY: &str = "tx_runtime: lock is busy";
const SNAPSHOT: &str = "tx_runtime: snapshot before lock";

const LEAVE_SAVEPOINT: &str = "ROLLBACK TO SAVEPOINT tx_lock; RELEASE SAVEPOINT tx_lock";

const REPEATABLE_SNAPSHOT: &str =
    "SELECT WHERE current_setting('transaction_isolation') IN ('repeatable read', 'serializable')";

pub(super) fn take_locks(keys: &[Arc<str>], wait: Duration, when: LockTime) -> LockMessages {
    match when {
        LockTime::Begin { terms, first } if first || keeps_one_snapshot(terms.isolation) => {
            let taken = session(keys, wait);
            LockMessages {
                then: Some(begin_text(terms)),
                ..taken
            }
        }
        LockTime::Begin { terms, .. } => LockMessages {
            then: Some(with_begin(keys, wait, terms)),
            undo: Some("ROLLBACK".to_owned()),
            ..LockMessages::default()
        },
        LockTime::Inside { nested: false } => LockMessages {
            then: Some(in_savepoint(&waiting(keys, wait, "xact_"))),
            undo: Some(LEAVE_SAVEPOINT.to_owned()),
            ..LockMessages::default()
        },
        // A lock of the transaction would open with a rollback to the savepoint.
        LockTime::Inside { nested: true } => LockMessages {
            then: Some(in_savepoint(&waiting(keys, wait, ""))),
            undo: Some(format!("{LEAVE_SAVEPOINT}; {}", open(keys))),
            open: Some(open(keys)),
            ..LockMessages::default()
        },
        LockTime::Session => session(keys, wait),
    }
}

fn keeps_one_snapshot(isolation: Option<Isolation>) -> bool {
    matches!(
        isolation,
        Some(Isolation::RepeatableRead | Isolation::Serializable)
    )
}

fn session(keys: &[Arc<str>], wait: Duration) -> LockMessages {
    let begin = begin_sql(Some(Isolation::ReadCommitted));
    LockMessages {
        first: Some(format!("{begin}; {}; COMMIT", waiting(keys, wait, ""))),
        undo: Some(format!("ROLLBACK; {}", open(keys))),
        open: Some(open(keys)),
        then: None,
    }
}

fn with_begin(keys: &[Arc<str>], wait: Duration, terms: Terms) -> String {
    let mut sql = begin_text(terms);
    if terms.isolation.is_none() {
        // The server's default may be a level at which this very message fixes the snapshot.
        let _ = write!(
            sql,
            "; SELECT WHERE (CASE WHEN EXISTS({REPEATABLE_SNAPSHOT}) THEN '{SNAPSHOT}' ELSE '1' END)::int = 0"
        );
    }
    let _ = write!(sql, "; {}", waiting(keys, wait, "xact_"));
    sql
}

fn in_savepoint(sql: &str) -> String {
    format!("SAVEPOINT tx_lock; {sql}; RELEASE SAVEPOINT tx_lock")
}

/// Takes the locks within `wait` altogether, and leaves the session's own limit as it was.
///
/// `kind`: `xact_` for locks of the transaction, nothing for those of the session.
fn waiting(keys: &[Arc<str>], wait: Duration, kind: &str) -> String {
    let mut sql = String::new();
    if wait.is_zero() {
        for key in keys {
            let _ = write!(
                sql,
                "SELECT WHERE (CASE WHEN pg_try_advisory_{kind}lock({}) THEN '1' ELSE '{BUSY}' END)::int = 0; ",
                number(key)
            );
        }
        sql.truncate(sql.trim_end_matches("; ").len());
        return sql;
    }
    let milliseconds = wait.as_millis().clamp(1, 1 << 30);
    let _ = write!(
        sql,
        "SELECT WHERE set_config('tx_runtime.lock_timeout', current_setting('lock_timeout'), true) IS NULL; \
         SET LOCAL lock_timeout = {milliseconds}; "
    );
    for (at, key) in keys.iter().enumerate() {
        if at > 0 {
            // What the keys before it have used up is not waited for again.
            let _ = write!(
                sql,
                "SELECT WHERE set_config('lock_timeout', greatest(1, {milliseconds} - floor(extract(epoch FROM \
                 clock_timestamp() - statement_timestamp()) * 1000))::bigint::text, true) IS NULL; "
            );
        }
        let _ = write!(
            sql,
            "SELECT WHERE pg_advisory_{kind}lock({}) IS NULL; ",
            number(key)
        );
    }
    sql.push_str(
        "SELECT WHERE set_config('lock_timeout', current_setting('tx_runtime.lock_timeout'), true) IS NULL",
    );
    sql
}

fn open(keys: &[Arc<str>]) -> String {
    let opened = keys
        .iter()
        .map(|key| format!("SELECT WHERE pg_advisory_unlock({}) IS NULL", number(key)));
    opened.collect::<Vec<_>>().join("; ")
}

fn number(key: &str) -> String {
    let digits = hex(&[NAMESPACE, key]);
    format!("('x' || left(encode(sha256(decode('{digits}', 'hex')), 'hex'), 16))::bit(64)::bigint")
}

pub(super) fn was_busy(error: &sqlx::Error) -> bool {
    super::code(error) == Some(super::LOCK_NOT_AVAILABLE) || says(error, BUSY)
}

pub(super) fn came_too_late(error: &sqlx::Error) -> bool {
    says(error, SNAPSHOT)
}

pub(super) async fn holder(connection: &mut PgConnection, key: &str) -> Option<String> {
    let sql = format!(
        "SELECT format('server process %s (%s) from %s, session since %s', a.pid, \
           coalesce(nullif(a.application_name, ''), a.usename, '?'), coalesce(a.client_addr::text, 'local'), a.backend_start) \
         FROM pg_locks l JOIN pg_stat_activity a USING (pid), (SELECT {} AS number) k \
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
           AND (l.classid::bigint << 32) | l.objid::bigint = k.number \
         LIMIT 1",
        number(key)
    );
    let found = sqlx::query_scalar(own_sql(sql)).fetch_optional(connection);
    found.await.ok().flatten()
}

pub(super) async fn keeps_snapshot(
    connection: &mut PgConnection,
    isolation: Option<Isolation>,
) -> Result<bool, sqlx::Error> {
    if isolation.is_some() {
        return Ok(keeps_one_snapshot(isolation));
    }
    let found = sqlx::query(REPEATABLE_SNAPSHOT).fetch_optional(connection);
    Ok(found.await?.is_some())
}

pub(super) const FENCE_TABLE: &str = "CREATE TABLE IF NOT EXISTS tx_fence (\
     name text PRIMARY KEY, \
     token bigint NOT NULL)";

/// How long the holder of an older token may take to end its transaction.
const FENCE_LIMIT: &str = "30s";

pub(super) async fn fence(
    connection: &mut PgConnection,
    key: &str,
    token: i64,
) -> Result<Option<i64>, sqlx::Error> {
    let name = hex(&[key]);
    let sql = format!(
        "SELECT WHERE set_config('tx_runtime.lock_timeout', current_setting('lock_timeout'), true) IS NULL; \
         SET LOCAL lock_timeout = '{FENCE_LIMIT}'; \
         INSERT INTO tx_fence AS f (name, token) VALUES (convert_from(decode('{name}', 'hex'), 'UTF8'), {token}) \
         ON CONFLICT (name) DO UPDATE SET token = greatest(f.token, excluded.token) RETURNING token; \
         SELECT WHERE set_config('lock_timeout', current_setting('tx_runtime.lock_timeout'), true) IS NULL"
    );
    let rows = sqlx::raw_sql(own_sql(sql)).fetch_all(connection).await?;
    let seen: Option<i64> = match rows.first() {
        Some(row) => Some(row.try_get(0)?),
        None => None,
    };
    Ok(seen.filter(|seen| *seen > token))
}
