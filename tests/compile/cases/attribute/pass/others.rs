//! Documentation, visibility, `cfg`, `must_use` and lint levels stay on the function.

#![deny(missing_docs)]

use tx_runtime::{Error, PgDb, transactional};

/// The doc comment above.
#[transactional]
/// And the one below.
#[must_use = "the count"]
#[cfg(not(any()))]
#[inline]
pub async fn count(db: &PgDb) -> Result<i64, Error> {
    //! And the one inside.
    Ok(sqlx::query_scalar("select count(*) from asset")
        .fetch_one(db)
        .await?)
}

/// Not there, and not a second definition.
#[cfg(any())]
#[transactional]
pub async fn count(db: &PgDb) -> Result<i64, Error> {
    Ok(0)
}

/// A lint level is for the body too.
#[transactional]
#[allow(clippy::similar_names)]
pub async fn insert(db: &PgDb, row: i64) -> Result<(), Error> {
    let rows = row + 1;
    sqlx::query("insert into row values ($1)")
        .bind(rows)
        .execute(db)
        .await?;
    Ok(())
}

#[expect(dead_code, reason = "the attribute does not hide that nobody calls it")]
#[transactional]
async fn never_called(db: &PgDb) -> Result<(), Error> {
    sqlx::query("select 1").execute(db).await?;
    Ok(())
}

mod inner {
    use super::{Error, PgDb, transactional};

    #[transactional]
    pub(super) async fn visible(db: &PgDb) -> Result<(), Error> {
        sqlx::query("select 1").execute(db).await?;
        Ok(())
    }
}

/// Calls a function of restricted visibility.
///
/// # Errors
///
/// Those of the database.
#[transactional]
pub async fn calls(db: &PgDb) -> Result<(), Error> {
    inner::visible(db).await
}
