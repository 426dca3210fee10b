// Waiting for a lock is an await.
// Fix: write `async fn`.
use tx_runtime::{Error, PgDb, locked};

#[locked(key = "report:{account}")]
fn report(db: &PgDb, account: i64) -> Result<String, Error> {
    Ok(format!("report of {account}: {}", db.pool().size()))
}

fn main() {}
