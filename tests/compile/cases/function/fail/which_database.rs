// Neither `self` nor a parameter named `db` leads to a database.
// Fix: name the parameter `db`, or write `db = pool`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn add(pool: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(pool).await?;
    Ok(())
}

fn main() {}
