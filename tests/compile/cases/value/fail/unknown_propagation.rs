// A mode that does not exist.
// Fix: write `Required`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = Reqiured)]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
