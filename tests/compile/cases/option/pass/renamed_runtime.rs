//! A runtime that is re-exported by another crate or module.

use crate::vendor::tx_runtime::{Error, LocalLocks, PgDb, locked, transactional};

#[transactional(crate = crate::vendor::tx_runtime, propagation = RequiresNew, lock = "audit")]
pub async fn audit(db: &PgDb, text: &str) -> Result<(), Error> {
    sqlx::query("insert into audit (text) values ($1)")
        .bind(text)
        .execute(db)
        .await?;
    Ok(())
}

#[locked(key = "report", on = *locks, crate = crate::vendor::tx_runtime)]
pub async fn report(locks: &LocalLocks) -> Result<String, Error> {
    Ok(format!("{locks:?}"))
}
