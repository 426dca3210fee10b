// A savepoint has the isolation level of the transaction it is in.
// Fix: remove `isolation`, or begin a transaction of its own with `RequiresNew`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = Nested, isolation = Serializable)]
async fn book(db: &PgDb, amount: i64) -> Result<(), Error> {
    sqlx::query("insert into booking values ($1)").bind(amount).execute(db).await?;
    Ok(())
}

fn main() {}
