// How long to wait, but for what?
// Fix: add `key = "interest-asset:{account}"`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock(wait = "2s"))]
async fn add(db: &PgDb, account: i64, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1, $2)").bind(account).bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
