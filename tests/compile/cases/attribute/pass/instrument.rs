//! `#[tracing::instrument]` above or below: below, its span is around the commit as well; above, it
//! is around the body alone, since the attribute that stands first is applied first.

use tx_runtime::{Error, PgDb, transactional};

#[transactional]
#[tracing::instrument(skip(db), err)]
pub async fn span_around_the_commit(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)")
        .bind(asset)
        .execute(db)
        .await?;
    Ok(())
}

#[tracing::instrument(skip(db), fields(asset = asset + 1))]
#[transactional(lock = "{asset}")]
pub async fn span_inside(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)")
        .bind(asset)
        .execute(db)
        .await?;
    Ok(())
}
