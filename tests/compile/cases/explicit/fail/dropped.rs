// A transaction that is dropped rolls back.
// Fix: keep it in a variable, and commit it.
#![deny(unused_must_use)]

use tx_runtime::{Error, PgDb};

async fn add(db: &PgDb) -> Result<(), Error> {
    db.begin().await?;
    sqlx::query("insert into asset default values").execute(db).await?;
    Ok(())
}

fn main() {}
