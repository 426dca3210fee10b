// A brace begins a placeholder.
// Fix: close it behind the argument's name.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock = "interest-asset:{account")]
async fn add(db: &PgDb, account: i64, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1, $2)").bind(account).bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
