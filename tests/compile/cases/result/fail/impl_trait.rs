// What hides behind `impl Trait` cannot be asked for its verdict.
// Fix: return `Result<T, E>`.
use tx_runtime::{PgDb, transactional};

#[transactional]
async fn sizes(db: &PgDb) -> impl Iterator<Item = u32> {
    std::iter::once(db.pool().size())
}

fn main() {}
