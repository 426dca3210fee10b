// The transaction is begun on a `Db`; a pool of sqlx is not one.
// Fix: hold a `PgDb`, made by `Db::new(pool)`.
use tx_runtime::{Error, transactional};

#[transactional]
async fn add(db: &sqlx::PgPool, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
