// `#[tokio::test]` has made a plain function of it by the time `#[transactional]` sees it.
// Fix: put `#[transactional]` above `#[tokio::test]`.
use tx_runtime::{Error, PgDb, transactional};

#[allow(dead_code)]
fn db() -> PgDb {
    unimplemented!()
}

#[core::prelude::v1::test]
#[transactional(db = db())]
fn adds() -> Result<(), Error> {
    Ok(())
}

fn main() {}
