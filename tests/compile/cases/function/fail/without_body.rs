// The declaration of a trait's method has nothing to run in a transaction.
// Fix: put the attribute on the method in each `impl`.
use tx_runtime::{Error, transactional};

#[allow(async_fn_in_trait, dead_code)]
trait Assets {
    #[transactional]
    async fn add(&self, asset: i64) -> Result<(), Error>;
}

fn main() {}
