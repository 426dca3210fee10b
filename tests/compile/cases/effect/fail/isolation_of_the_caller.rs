// A scope that only joins cannot choose the level: the transaction has begun.
// Fix: set the level where the transaction begins.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = Mandatory, isolation = Serializable)]
async fn book(db: &PgDb, amount: i64) -> Result<(), Error> {
    sqlx::query("insert into booking values ($1)").bind(amount).execute(db).await?;
    Ok(())
}

fn main() {}
