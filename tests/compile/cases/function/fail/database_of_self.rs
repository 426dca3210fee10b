// A free function has no `self`.
// Fix: write `db = pool`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(db = self.pool)]
async fn add(pool: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(pool).await?;
    Ok(())
}

fn main() {}
