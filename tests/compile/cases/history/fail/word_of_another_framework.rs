// Words of others for the same are known.
// Fix: write `actor`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(history(user = "ann"))]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
