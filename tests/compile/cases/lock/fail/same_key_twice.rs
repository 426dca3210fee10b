// The same text twice is one lock, and most likely a slip.
// Fix: write `{to}` in one of them.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock(keys = ["account:{from}", "account:{from}"]))]
async fn transfer(db: &PgDb, from: i64, to: i64) -> Result<(), Error> {
    sqlx::query("insert into transfer values ($1, $2)").bind(from).bind(to).execute(db).await?;
    Ok(())
}

fn main() {}
