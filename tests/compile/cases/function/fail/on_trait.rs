// A trait's declaration runs nothing; its implementations do.
// Fix: put the attribute on the `impl` block.
use tx_runtime::{Error, transactional};

#[transactional]
#[allow(async_fn_in_trait, dead_code)]
trait Assets {
    async fn add(&self, asset: i64) -> Result<(), Error>;
}

fn main() {}
