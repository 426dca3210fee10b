// `timeout` is for the whole function, waiting included, so this wait could never run out.
// Fix: make `wait` shorter than `timeout`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(timeout = "3s", lock(key = "nightly", wait = "10s"))]
async fn nightly(db: &PgDb) -> Result<(), Error> {
    sqlx::query("insert into day default values").execute(db).await?;
    Ok(())
}

fn main() {}
