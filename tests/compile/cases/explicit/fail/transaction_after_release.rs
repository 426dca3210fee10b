// A lock that has been opened protects nothing that comes later.
// Fix: open it last, after the commit.
use tx_runtime::{Error, PgDb};

async fn add(db: &PgDb) -> Result<(), Error> {
    let held = db.lock("interest-asset:7").await?;
    held.release().await?;
    let tx = held.begin().await?;
    tx.commit().await
}

fn main() {}
