// Several locks are taken together, sorted, so that two callers cannot wait for each other.
// Fix: write `lock(keys = ["account:{from}", "account:{to}"])`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock = ["account:{from}", "account:{to}"])]
async fn transfer(db: &PgDb, from: i64, to: i64) -> Result<(), Error> {
    sqlx::query("insert into transfer values ($1, $2)").bind(from).bind(to).execute(db).await?;
    Ok(())
}

fn main() {}
