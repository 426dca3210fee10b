// How often, how long between, and whether a lost answer may be repeated: retry has options.
// Fix: write `retry(attempts = 3)`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(retry = 3)]
async fn transfer(db: &PgDb, amount: i64) -> Result<(), Error> {
    sqlx::query("update account set balance = balance - $1").bind(amount).execute(db).await?;
    Ok(())
}

fn main() {}
