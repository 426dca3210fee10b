// Words of Spring, NestJS or Django that have another name here.
// Fix: write what the help says.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(transaction_manager = "orders", isolation_level = Serializable)]
async fn transfer(db: &PgDb, amount: i64) -> Result<(), Error> {
    sqlx::query("update account set balance = balance - $1").bind(amount).execute(db).await?;
    Ok(())
}

fn main() {}
