// `#[tokio::main]` has made a plain function of it by the time `#[transactional]` sees it.
// Fix: put the work into a function of its own.
use tx_runtime::{Error, PgDb, transactional};

async fn db() -> PgDb {
    PgDb::connect("postgres:///shop").await.expect("a database")
}

#[tokio::main(flavor = "current_thread")]
#[transactional(db = db().await)]
async fn main() -> Result<(), Error> {
    Ok(())
}
