// A `const fn` runs in the compiler.
// Fix: remove `const`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
const fn size(db: &PgDb) -> Result<&PgDb, Error> {
    Ok(db)
}

fn main() {}
