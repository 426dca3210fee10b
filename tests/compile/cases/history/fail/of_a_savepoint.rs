// A savepoint is a part of a transaction, whose revision it shares.
// Fix: remove `history`, or begin a transaction of its own with `RequiresNew`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = Nested, history(actor = "ann"))]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
