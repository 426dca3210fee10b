//! The four levels of the SQL standard.

use tx_runtime::{Error, Isolation, PgDb, transactional};

#[transactional(isolation = ReadUncommitted)]
pub async fn read_uncommitted(db: &PgDb) -> Result<i64, Error> {
    one(db).await
}

#[transactional(isolation = ReadCommitted, propagation = RequiresNew)]
pub async fn read_committed(db: &PgDb) -> Result<i64, Error> {
    one(db).await
}

#[transactional(isolation = RepeatableRead, propagation = Isolated)]
pub async fn repeatable_read(db: &PgDb) -> Result<i64, Error> {
    one(db).await
}

#[transactional(isolation = Isolation::Serializable)]
pub async fn serializable(db: &PgDb) -> Result<i64, Error> {
    one(db).await
}

async fn one(db: &PgDb) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select 1::bigint").fetch_one(db).await?)
}
