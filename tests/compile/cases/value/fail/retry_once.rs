// The first run is an attempt too.
// Fix: write at least `attempts = 2`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(retry(attempts = 1))]
async fn transfer(db: &PgDb, amount: i64) -> Result<(), Error> {
    sqlx::query("update account set balance = balance - $1").bind(amount).execute(db).await?;
    Ok(())
}

fn main() {}
