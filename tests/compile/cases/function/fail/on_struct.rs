// Transactions are run by functions.
// Fix: put the attribute on the function that does the work.
use tx_runtime::{PgDb, transactional};

#[transactional]
struct Assets {
    db: PgDb,
}

fn main() {}
