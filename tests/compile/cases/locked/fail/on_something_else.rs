// The same for `#[locked]`.
// Fix: write `on = *locks`.
use tx_runtime::{Error, LocalLocks, locked};

#[locked(key = "report:{account}", on = locks)]
async fn report(locks: &LocalLocks, account: i64) -> Result<String, Error> {
    Ok(format!("report of {account}"))
}

fn main() {}
