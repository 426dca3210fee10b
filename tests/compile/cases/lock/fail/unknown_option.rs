// Options of `lock` are checked like the others.
// Fix: write `wait`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock(key = "nightly", timeout = "2s"))]
async fn nightly(db: &PgDb) -> Result<(), Error> {
    sqlx::query("insert into day default values").execute(db).await?;
    Ok(())
}

fn main() {}
