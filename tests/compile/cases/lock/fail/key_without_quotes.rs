// The key is text with the argument in braces, so that two functions can agree on it.
// Fix: write `lock = "interest-asset:{account}"`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock = account)]
async fn add(db: &PgDb, account: i64, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1, $2)").bind(account).bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
