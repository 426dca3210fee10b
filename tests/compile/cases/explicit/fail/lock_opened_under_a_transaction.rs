// A lock that opens before the transaction under it has ended would let the next holder read what
// is not yet committed.
// Fix: commit first.
use tx_runtime::{Error, PgDb};

async fn add(db: &PgDb) -> Result<(), Error> {
    let held = db.lock("interest-asset:7").await?;
    let tx = held.begin().await?;
    held.release().await?;
    tx.commit().await
}

fn main() {}
