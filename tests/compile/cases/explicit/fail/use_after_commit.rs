// A transaction in a variable is consumed by its commit.
// Fix: commit last.
use tx_runtime::{Error, PgDb};

async fn add(db: &PgDb) -> Result<(), Error> {
    let tx = db.begin().await?;
    tx.commit().await?;
    sqlx::query("insert into asset default values").execute(&tx).await?;
    Ok(())
}

fn main() {}
