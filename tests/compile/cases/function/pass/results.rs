//! Aliases of `Result`, results that borrow, `impl Trait` inside of them, and errors of any kind.

use tx_runtime::{Error, PgDb, transactional};

pub type Fallible<T> = Result<T, Error>;

/// Neither `Display` nor `Debug`.
pub struct Silent(pub Error);

impl From<Error> for Silent {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

#[transactional]
pub async fn aliased(db: &PgDb) -> Fallible<()> {
    sqlx::query("select 1").execute(db).await?;
    Ok(())
}

#[transactional]
pub async fn borrowed<'a>(db: &PgDb, names: &'a [String]) -> Result<&'a str, Error> {
    sqlx::query("select 1").execute(db).await?;
    let first: &String = &names[0];
    Ok(first)
}

#[transactional]
pub async fn hidden(db: &PgDb) -> Result<impl Iterator<Item = i64> + use<>, Error> {
    let ids: Vec<i64> = sqlx::query_scalar("select id from asset")
        .fetch_all(db)
        .await?;
    Ok(ids.into_iter().filter(|id| id % 2 == 0))
}

#[transactional]
pub async fn silent(db: &PgDb) -> Result<(), Silent> {
    sqlx::query("select 1")
        .execute(db)
        .await
        .map_err(|error| Silent(error.into()))?;
    Ok(())
}

#[transactional]
pub async fn boxed(db: &PgDb) -> Result<Box<dyn Fn(i64) -> i64>, Box<dyn std::error::Error>> {
    let step: i64 = sqlx::query_scalar("select 2::bigint").fetch_one(db).await?;
    if step == 1 {
        return Ok(Box::new(|id| id));
    }
    Ok(Box::new(move |id| id + step))
}
