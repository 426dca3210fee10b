// Where nothing is rolled back, there are no exceptions to it.
// Fix: remove `no_rollback_for`, or use `Required`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = NotSupported, no_rollback_for = Error::NoLockHeld { .. })]
async fn refresh(db: &PgDb) -> Result<(), Error> {
    sqlx::query("refresh materialized view statistics").execute(db).await?;
    Ok(())
}

fn main() {}
