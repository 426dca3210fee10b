// A relative path would mean something else in every module that the function is moved to.
// Fix: write `::tx` for a dependency of that name, or `crate::tx` for a module.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(crate = tx)]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
