// `try` takes the lock only if it is free: there is nothing to wait for.
// Fix: remove one of them.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock(key = "nightly", try, wait = "2s"))]
async fn nightly(db: &PgDb) -> Result<(), Error> {
    sqlx::query("insert into day default values").execute(db).await?;
    Ok(())
}

fn main() {}
