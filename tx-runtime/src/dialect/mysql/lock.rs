//! User locks and fencing tokens of MySQL and MariaDB.
//!
//! Names of user locks are of the whole server and at most 64 characters long, and the two
//! disagree on upper and lower case. The name sent is therefore a SHA-256 over database and
//! key, in lower-case hexadecimal digits.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{MySqlConnection, Row};

use super::{Isolation, begin_text, number as code};
use crate::dialect::{LockMessages, LockTime, own_sql, sql::hex};

/// A number too big for the server's integers: how a lock that was not given fails the
/// message it is part of.
const OUT_OF_RANGE: u16 = 1690;

pub(super) fn take_locks(keys: &[Arc<str>], wait: Duration, when: LockTime) -> LockMessages {
    let take = take(keys, wait);
    let then = match when {
        LockTime::Begin { terms, .. } => {
            // What somebody left open on the connection must not wait for a lock.
            format!("ROLLBACK; {take}; {}", begin_text(terms))
        }
        LockTime::Inside { .. } | LockTime::Session => take,
    };
    LockMessages {
        first: None,
        then: Some(then),
        undo: Some(open(keys)),
        open: Some(open(keys)),
    }
}

fn take(keys: &[Arc<str>], wait: Duration) -> String {
    // More is no bound, and overflows some versions.
    let seconds = wait.as_secs_f64().min(1e6);
    let left = if keys.len() > 1 && !wait.is_zero() {
        // What the keys before it have used up is not waited for again.
        format!(
            "GREATEST(0, {seconds:.3} - TIMESTAMPDIFF(MICROSECOND, @tx_since, SYSDATE(6)) / 1000000)"
        )
    } else {
        format!("{seconds:.3}")
    };
    let mut sql = String::from("SET @tx_since = SYSDATE(6)");
    for key in keys {
        let _ = write!(
            sql,
            "; SET @tx_lock = 18446744073709551615 + (1 - COALESCE(GET_LOCK({}, {left}), 0))",
            name(key)
        );
    }
    sql
}

fn open(keys: &[Arc<str>]) -> String {
    let opened = keys
        .iter()
        .map(|key| format!("DO RELEASE_LOCK({})", name(key)));
    opened.collect::<Vec<_>>().join("; ")
}

fn name(key: &str) -> String {
    // Digits only: what is no letter of the connection's character set would be refused.
    let digits = hex(&[key]);
    format!("SHA2(CONCAT('tx_runtime:', HEX(COALESCE(DATABASE(), '')), ':', '{digits}'), 256)")
}

pub(super) fn was_busy(error: &sqlx::Error) -> bool {
    code(error) == Some(OUT_OF_RANGE)
}

pub(super) async fn holder(connection: &mut MySqlConnection, key: &str) -> Option<String> {
    let name = name(key);
    let sql = format!(
        "SELECT CAST(CONCAT('server connection ', p.id, ' of ', p.user, ' from ', p.host) AS CHAR) \
         FROM information_schema.processlist p WHERE p.id = IS_USED_LOCK({name})"
    );
    let found = sqlx::query_scalar(own_sql(sql)).fetch_optional(connection);
    found.await.ok().flatten()
}

pub(super) async fn keeps_snapshot(
    connection: &mut MySqlConnection,
    isolation: Option<Isolation>,
) -> Result<bool, sqlx::Error> {
    if let Some(isolation) = isolation {
        return Ok(matches!(
            isolation,
            Isolation::RepeatableRead | Isolation::Serializable
        ));
    }
    // The variable has one name in MariaDB and another in MySQL.
    let found = sqlx::query(
        "SHOW SESSION VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation') \
         AND Value IN ('REPEATABLE-READ', 'SERIALIZABLE')",
    );
    Ok(found.fetch_optional(connection).await?.is_some())
}

/// Every collation that both know takes `k` and `k ` for one name.
pub(super) const FENCE_TABLE: &str = "CREATE TABLE IF NOT EXISTS tx_fence (\
     name varbinary(500) PRIMARY KEY, \
     token bigint NOT NULL) ENGINE = InnoDB";

pub(super) async fn fence(
    connection: &mut MySqlConnection,
    key: &str,
    token: i64,
) -> Result<Option<i64>, sqlx::Error> {
    let name = format!("X'{}'", hex(&[key]));
    // The row is locked exclusively at once: INSERT IGNORE would take a shared lock first, and
    // two of those could not both become exclusive. Then a locking read, since a plain one
    // would take the snapshot of the transaction.
    let sql = format!(
        "INSERT INTO tx_fence (name, token) VALUES ({name}, {token}) \
         ON DUPLICATE KEY UPDATE token = GREATEST(token, VALUES(token)); \
         SELECT token FROM tx_fence WHERE name = {name} FOR UPDATE"
    );
    let row = sqlx::raw_sql(own_sql(sql)).fetch_one(connection).await?;
    let seen: i64 = row.try_get(0)?;
    Ok(Some(seen).filter(|seen| *seen > token))
}
