// Where do the pauses end?
// Fix: write `backoff = "10ms..1s"`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(retry(attempts = 5, backoff = "10ms"))]
async fn transfer(db: &PgDb, amount: i64) -> Result<(), Error> {
    sqlx::query("update account set balance = balance - $1").bind(amount).execute(db).await?;
    Ok(())
}

fn main() {}
