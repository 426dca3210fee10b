// Levels have the names of the SQL standard. Snapshot isolation of a server is its `RepeatableRead`.
// Fix: write one of the four levels.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(isolation = Snapshot)]
async fn transfer(db: &PgDb, amount: i64) -> Result<(), Error> {
    sqlx::query("update account set balance = balance - $1").bind(amount).execute(db).await?;
    Ok(())
}

fn main() {}
