// After a deadlock or a serialization failure the whole transaction is lost, not just a savepoint.
// Fix: put `retry` on the function that begins the transaction.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = Nested, retry(attempts = 5))]
async fn book(db: &PgDb, amount: i64) -> Result<(), Error> {
    sqlx::query("insert into booking values ($1)").bind(amount).execute(db).await?;
    Ok(())
}

fn main() {}
