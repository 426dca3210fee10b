//! A transaction in which the server refuses to write.

use tx_runtime::{Error, PgDb, transactional};

#[transactional(read_only, isolation = RepeatableRead)]
pub async fn count(db: &PgDb) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from asset")
        .fetch_one(db)
        .await?)
}

#[transactional(propagation = Nested, read_only = true)]
pub async fn nested(db: &PgDb) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from asset")
        .fetch_one(db)
        .await?)
}
