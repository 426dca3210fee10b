// A function without a name could not be found in a log.
// Fix: leave `name` out; the function's path is the default.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(name = "")]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
