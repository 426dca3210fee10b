// A transaction has one revision, which belongs to the function that begins it.
// Fix: name the author there, or begin a transaction of its own with `RequiresNew`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = Mandatory, history(actor = "ann"))]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
