// The attribute does not hide from the compiler that a function is not used.
// Fix: call it or remove it.
#![deny(dead_code)]

use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn forgotten(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
