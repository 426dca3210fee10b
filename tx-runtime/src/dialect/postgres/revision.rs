//! The revision of a transaction of PostgreSQL, and its author: settings of the transaction.
//!
//! A setting that is local to the transaction goes with it, and back to what it was with a
//! savepoint. Texts travel as hexadecimal digits, so that no quoting can go wrong.

use std::fmt::Write as _;

use sqlx::PgConnection;

use crate::dialect::sql::hex;

pub(super) fn introduce(actor: Option<&str>, reason: Option<&str>) -> String {
    let mut sql = String::new();
    for (part, text) in [("actor", actor), ("reason", reason)] {
        if let Some(text) = text {
            let digits = hex(&[text]);
            let _ = write!(
                sql,
                "SELECT WHERE set_config('tx_runtime.{part}', convert_from(decode('{digits}', 'hex'), 'UTF8'), true) IS NULL; "
            );
        }
    }
    // The author alone may be an empty text.
    sql.push_str("SELECT WHERE false");
    sql
}

/// The setting names its transaction as well: one that was set for a session is no revision of
/// any other.
const REVISION: &str = "SELECT CASE WHEN split_part(mark, ' ', 2) = txid_current_if_assigned()::text \
     THEN split_part(mark, ' ', 1)::bigint END FROM current_setting('tx_runtime.revision', true) AS mark";

pub(super) async fn current(connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(REVISION).fetch_one(connection).await
}
