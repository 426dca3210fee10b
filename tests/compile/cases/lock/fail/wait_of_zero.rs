// Not to wait has a word of its own.
// Fix: write `try`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock(key = "nightly", wait = "0s"))]
async fn nightly(db: &PgDb) -> Result<(), Error> {
    sqlx::query("insert into day default values").execute(db).await?;
    Ok(())
}

fn main() {}
