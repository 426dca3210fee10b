// `#[locked]` is for functions without a transaction. One attribute for both keeps the order right
// by itself: the lock before BEGIN, and open only after COMMIT.
// Fix: write `#[transactional(lock = "interest-asset:{account}")]`.
use tx_runtime::{Error, PgDb, locked, transactional};

#[locked(key = "interest-asset:{account}")]
#[transactional]
async fn add(db: &PgDb, account: i64, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1, $2)").bind(account).bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
