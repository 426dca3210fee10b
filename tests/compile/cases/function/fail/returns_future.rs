// The future is made by a function that is no `async fn`, and would begin when it is called.
// Fix: write `async fn`.
use std::future::Future;

use tx_runtime::{Error, PgDb, transactional};

#[transactional]
fn size(db: &PgDb) -> impl Future<Output = Result<u32, Error>> {
    async { Ok(db.pool().size()) }
}

fn main() {}
