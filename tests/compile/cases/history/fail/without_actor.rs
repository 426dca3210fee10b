// A reason is somebody's.
// Fix: say whose it is with `actor`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(history(reason = "new asset"))]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
