//! `impl Trait`, patterns, `mut`, functions and borrowed arguments.

use tx_runtime::{Error, PgDb, transactional};

pub struct Path<T>(pub T);

#[transactional]
pub async fn hidden(db: &PgDb, text: impl AsRef<str> + Send + Sync) -> Result<(), Error> {
    sqlx::query("insert into log values ($1)")
        .bind(text.as_ref())
        .execute(db)
        .await?;
    Ok(())
}

#[transactional]
pub async fn patterns(
    db: &PgDb,
    Path(id): Path<i64>,
    (from, _): (i64, i64),
    [first, .., last]: [i64; 4],
) -> Result<i64, Error> {
    sqlx::query("select 1").execute(db).await?;
    Ok(id + from + first + last)
}

#[transactional]
pub async fn mutable(db: &PgDb, mut ids: Vec<i64>, mut next: i64) -> Result<Vec<i64>, Error> {
    next += 1;
    sqlx::query("insert into asset values ($1)")
        .bind(next)
        .execute(db)
        .await?;
    ids.push(next);
    Ok(ids)
}

#[transactional]
pub async fn called(db: &PgDb, make: impl AsyncFnOnce() -> i64) -> Result<i64, Error> {
    sqlx::query("select 1").execute(db).await?;
    Ok(make().await)
}

#[transactional]
pub async fn filled(db: &PgDb, names: &mut Vec<String>) -> Result<usize, Error> {
    let found: Vec<String> = sqlx::query_scalar("select name from asset")
        .fetch_all(db)
        .await?;
    names.extend(found);
    Ok(names.len())
}
