// The client is not to be had without its lock.
// Fix: `api.with("nightly import", async |permit| ..)`, and `permit.client()` in it.
use tx_runtime::{Error, Guarded};

struct ReportApi;

impl ReportApi {
    async fn delete_all(&self) {}
}

async fn clean_up(api: &Guarded<ReportApi>) -> Result<(), Error> {
    api.client.delete_all().await;
    Ok(())
}

fn main() {}
