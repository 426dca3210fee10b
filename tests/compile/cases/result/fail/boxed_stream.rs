// The same behind a box.
// Fix: fetch in the function, and return `Vec<i64>`.
use futures_util::stream::{self, BoxStream};
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn all(db: &PgDb) -> Result<BoxStream<'static, u32>, Error> {
    Ok(Box::pin(stream::iter([db.pool().size()])))
}

fn main() {}
