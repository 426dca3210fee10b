// Behind an alias may be a `Result`, so this is found by its type.
// Fix: return `Result<i64, Error>`.
use tx_runtime::{PgDb, transactional};

type Count = i64;

#[transactional]
async fn count(db: &PgDb) -> Count {
    i64::from(db.pool().size())
}

fn main() {}
