// A key has no list of values after it: a placeholder names its argument.
// Fix: write `{account}`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock = "interest-asset:{}")]
async fn add(db: &PgDb, account: i64, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1, $2)").bind(account).bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
