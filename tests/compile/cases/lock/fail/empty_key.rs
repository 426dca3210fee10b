// All functions with an empty key would exclude each other.
// Fix: name what is locked.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock = "")]
async fn add(db: &PgDb, account: i64, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1, $2)").bind(account).bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
