// A transactional function that is called and not awaited does nothing, and the compiler says so.
// Fix: write `.await?` behind the call.
#![deny(unused_must_use)]

use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

#[transactional]
async fn register(db: &PgDb, asset: i64) -> Result<(), Error> {
    add(db, asset);
    Ok(())
}

fn main() {}
