//! A bound for the whole scope, waiting included.

use tx_runtime::{Error, PgDb, transactional};

#[transactional(timeout = "3s", lock(key = "nightly", wait = "500ms"))]
pub async fn nightly(db: &PgDb) -> Result<(), Error> {
    sqlx::query("insert into day default values")
        .execute(db)
        .await?;
    Ok(())
}

#[transactional(propagation = Nested, timeout = "250ms")]
pub async fn quick(db: &PgDb) -> Result<(), Error> {
    sqlx::query("insert into day default values")
        .execute(db)
        .await?;
    Ok(())
}
