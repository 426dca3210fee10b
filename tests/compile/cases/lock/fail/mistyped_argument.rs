// A typing mistake in the key is found like any other.
// Fix: write `{account}`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock = "interest-asset:{acount}")]
async fn add(db: &PgDb, account: i64, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1, $2)").bind(account).bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
