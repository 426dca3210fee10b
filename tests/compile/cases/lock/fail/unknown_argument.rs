// The key is filled in from the function's arguments, and this is none of them.
// Fix: name an argument.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock = "interest-asset:{customer}")]
async fn add(db: &PgDb, account: i64, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1, $2)").bind(account).bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
