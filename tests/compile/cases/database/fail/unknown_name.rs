// A name in an option is looked up like any other.
// Fix: write `db = pool`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(db = poool)]
async fn add(pool: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(pool).await?;
    Ok(())
}

fn main() {}
