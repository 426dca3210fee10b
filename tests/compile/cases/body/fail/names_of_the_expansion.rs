// The names that the attribute brings in are not visible in the body.
// Fix: use the parameter `db`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(&__tx_db).await?;
    Ok(())
}

fn main() {}
