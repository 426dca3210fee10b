// A function that never returns never commits.
// Fix: give each round of the loop a transaction.
use tx_runtime::{PgDb, transactional};

#[transactional]
async fn work(db: &PgDb) -> ! {
    loop {
        println!("{}", db.pool().size());
    }
}

fn main() {}
