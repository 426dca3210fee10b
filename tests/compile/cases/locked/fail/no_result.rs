// A lock that is not had in time is an error, which the function must be able to return.
// Fix: return `Result<(), Error>`.
use tx_runtime::{PgDb, locked};

#[locked(key = "report:{account}")]
async fn report(db: &PgDb, account: i64) {
    println!("report of {account}: {}", db.pool().size());
}

fn main() {}
