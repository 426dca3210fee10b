// Locks are taken on something: the `Db`, or a provider.
// Fix: add a parameter named `db`, or write `on = locks`.
use tx_runtime::{Error, locked};

#[locked(key = "report:{account}")]
async fn report(account: i64) -> Result<String, Error> {
    Ok(format!("report of {account}"))
}

fn main() {}
