//! The return type reaches the tail of the body and every `return`.

use std::fmt::Display;

use tx_runtime::{Error, PgDb, transactional};

#[transactional]
pub async fn shown(db: &PgDb, plain: bool) -> Result<Box<dyn Display + Send>, Error> {
    let count: i64 = sqlx::query_scalar("select count(*) from asset")
        .fetch_one(db)
        .await?;
    if plain {
        return Ok(Box::new(count));
    }
    Ok(Box::new(format!("{count} assets")))
}

#[transactional]
pub async fn first<'a>(db: &PgDb, names: &'a [String]) -> Result<&'a str, Error> {
    sqlx::query("select 1").execute(db).await?;
    Ok(&names[0])
}

#[transactional]
pub async fn collected(db: &PgDb) -> Result<Vec<i64>, Error> {
    let ids: Vec<i64> = sqlx::query_scalar("select id from asset")
        .fetch_all(db)
        .await?;
    Ok(ids.into_iter().map(|id| id + 1).collect())
}

#[transactional]
pub async fn parsed(db: &PgDb, text: &str) -> Result<u8, Error> {
    sqlx::query("select 1").execute(db).await?;
    Ok(text.parse().unwrap_or_default())
}
