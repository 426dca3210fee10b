// One list of all the keys, not two.
// Fix: write them as `keys = [..]`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock(key = "account:{from}", keys = ["account:{to}"]))]
async fn transfer(db: &PgDb, from: i64, to: i64) -> Result<(), Error> {
    sqlx::query("insert into transfer values ($1, $2)").bind(from).bind(to).execute(db).await?;
    Ok(())
}

fn main() {}
