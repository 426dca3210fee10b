//! The revision of a transaction of MySQL and MariaDB, and its author: variables of the session.
//!
//! They are set behind BEGIN and unset behind COMMIT and ROLLBACK, in the same messages. The
//! number of a revision that a savepoint has taken back is one without a row.

use sqlx::MySqlConnection;

use crate::dialect::sql::hex;

pub(super) fn introduce(actor: Option<&str>, reason: Option<&str>) -> String {
    format!(
        "SET @tx_author = 1, @tx_actor = {}, @tx_reason = {}, @tx_revision = NULL",
        literal(actor),
        literal(reason)
    )
}

pub(super) const FORGET: &str =
    "SET @tx_author = NULL, @tx_actor = NULL, @tx_reason = NULL, @tx_revision = NULL";

fn literal(text: Option<&str>) -> String {
    match text {
        None => "NULL".to_owned(),
        Some(text) => format!("CONVERT(X'{}' USING utf8mb4)", hex(&[text])),
    }
}

pub(super) async fn current(connection: &mut MySqlConnection) -> Result<Option<i64>, sqlx::Error> {
    let found = sqlx::query_scalar("SELECT rev FROM tx_revision WHERE rev = @tx_revision");
    match found.fetch_optional(connection).await {
        // The table comes with the first one that is audited.
        Err(error) if super::number(&error) == Some(super::NO_SUCH_TABLE) => Ok(None),
        found => found,
    }
}
