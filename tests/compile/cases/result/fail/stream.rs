// A stream fetches its rows when it is read. By then the transaction has ended.
// Fix: fetch in the function, and return `Vec<i64>`.
use futures_util::stream::{self, Stream};
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn all(db: &PgDb) -> Result<impl Stream<Item = u32> + use<>, Error> {
    Ok(stream::iter([db.pool().size()]))
}

fn main() {}
