// The order of the two makes no difference.
// Fix: write `#[transactional(lock = "interest-asset:{account}")]`.
use tx_runtime::{Error, PgDb, locked, transactional};

#[transactional]
#[locked(key = "interest-asset:{account}")]
async fn add(db: &PgDb, account: i64, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1, $2)").bind(account).bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
