// A client that has left its lock would be used beside the next holder.
// Fix: return what the client has answered, not the client.
use tx_runtime::{Error, Guarded};

struct ReportApi;

async fn leak(api: &Guarded<ReportApi>) -> Result<&ReportApi, Error> {
    api.with("clean-up", async |permit| Ok::<_, Error>(permit.client())).await
}

fn main() {}
