// An option that needs a value says how one looks.
// Fix: write `isolation = Serializable`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(isolation)]
async fn transfer(db: &PgDb, amount: i64) -> Result<(), Error> {
    sqlx::query("update account set balance = balance - $1").bind(amount).execute(db).await?;
    Ok(())
}

fn main() {}
