// Locks are taken on a provider.
// Fix: write `on = *locks` for a reference to one.
use tx_runtime::{Error, LocalLocks, PgDb, transactional};

#[transactional(lock(key = "nightly", on = locks))]
async fn nightly(db: &PgDb, locks: &LocalLocks) -> Result<(), Error> {
    sqlx::query("insert into day default values").execute(db).await?;
    Ok(())
}

fn main() {}
