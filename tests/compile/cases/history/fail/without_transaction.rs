// Without a transaction there is no revision.
// Fix: remove `history`, or use `Required`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = NotSupported, history(actor = "ann"))]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
