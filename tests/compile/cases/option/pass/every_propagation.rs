//! The eight modes; a path is as good as a word.

use tx_runtime::{Error, PgDb, Propagation, transactional};

#[transactional(propagation = Required)]
pub async fn required(db: &PgDb) -> Result<i64, Error> {
    one(db).await
}

#[transactional(propagation = RequiresNew)]
pub async fn requires_new(db: &PgDb) -> Result<i64, Error> {
    one(db).await
}

#[transactional(propagation = Isolated)]
pub async fn isolated(db: &PgDb) -> Result<i64, Error> {
    one(db).await
}

#[transactional(propagation = Nested)]
pub async fn nested(db: &PgDb) -> Result<i64, Error> {
    one(db).await
}

#[transactional(propagation = Mandatory)]
pub async fn mandatory(db: &PgDb) -> Result<i64, Error> {
    one(db).await
}

#[transactional(propagation = Supports)]
pub async fn supports(db: &PgDb) -> Result<i64, Error> {
    one(db).await
}

#[transactional(propagation = NotSupported)]
pub async fn not_supported(db: &PgDb) -> Result<i64, Error> {
    one(db).await
}

#[transactional(propagation = Propagation::Never)]
pub async fn never(db: &PgDb) -> Result<i64, Error> {
    one(db).await
}

async fn one(db: &PgDb) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select 1::bigint").fetch_one(db).await?)
}
