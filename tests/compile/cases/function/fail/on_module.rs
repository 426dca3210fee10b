// A module holds functions of many kinds.
// Fix: put the attribute on each function that needs a transaction.
use tx_runtime::transactional;

#[transactional]
mod assets {
    pub async fn add(asset: i64) -> Result<(), tx_runtime::Error> {
        println!("{asset}");
        Ok(())
    }
}

fn main() {}
