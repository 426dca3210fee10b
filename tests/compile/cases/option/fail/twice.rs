// Two values for one option: neither is the obvious one.
// Fix: keep one of them.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(isolation = Serializable, name = "transfer", isolation = RepeatableRead)]
async fn transfer(db: &PgDb, amount: i64) -> Result<(), Error> {
    sqlx::query("update account set balance = balance - $1").bind(amount).execute(db).await?;
    Ok(())
}

fn main() {}
