// A transaction is begun, committed and rolled back by awaiting.
// Fix: write `async fn`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
fn size(db: &PgDb) -> Result<u32, Error> {
    Ok(db.pool().size())
}

fn main() {}
