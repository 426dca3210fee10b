// A participant cannot be repeated alone: what its caller has read belongs to the same snapshot.
// Fix: put `retry` on the function that begins the transaction.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = Mandatory, retry(attempts = 5))]
async fn book(db: &PgDb, amount: i64) -> Result<(), Error> {
    sqlx::query("insert into booking values ($1)").bind(amount).execute(db).await?;
    Ok(())
}

fn main() {}
