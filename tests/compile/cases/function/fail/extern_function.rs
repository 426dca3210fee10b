// Callers of another language cannot await.
// Fix: move the work to an `async fn` and block on that.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
#[allow(improper_ctypes_definitions)]
extern "C" fn size(db: &PgDb) -> Result<u32, Error> {
    Ok(db.pool().size())
}

fn main() {}
