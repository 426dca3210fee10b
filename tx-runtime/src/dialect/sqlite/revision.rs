//! The revision of a transaction of SQLite, and its author: a table of one row.
//!
//! A file has one writer at a time, so that row is its own from BEGIN to COMMIT; a rollback, of
//! a savepoint too, takes it back.

use sqlx::SqliteConnection;

use crate::dialect::sql::hex;

pub(super) fn introduce(actor: Option<&str>, reason: Option<&str>) -> String {
    format!(
        "UPDATE tx_open_revision SET is_open = 1, rev = NULL, actor = {}, reason = {}",
        literal(actor),
        literal(reason)
    )
}

pub(super) const FINISH: &str =
    "UPDATE tx_open_revision SET is_open = 0, rev = NULL, actor = NULL, reason = NULL";

pub(super) const TABLE: &str = "tx_open_revision";

fn literal(text: Option<&str>) -> String {
    match text {
        None => "NULL".to_owned(),
        Some(text) => format!("CAST(X'{}' AS TEXT)", hex(&[text])),
    }
}

pub(super) async fn current(connection: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    let found = sqlx::query_scalar("SELECT rev FROM tx_open_revision");
    Ok(found.fetch_optional(connection).await?.flatten())
}
