// Options of `retry` are checked like the others.
// Fix: write `attempts = 5`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(retry(max_attempts = 5, attempts = 5))]
async fn transfer(db: &PgDb, amount: i64) -> Result<(), Error> {
    sqlx::query("update account set balance = balance - $1").bind(amount).execute(db).await?;
    Ok(())
}

fn main() {}
