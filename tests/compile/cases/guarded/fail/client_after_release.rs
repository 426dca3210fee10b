// Once the lock is open somebody else may be using the client.
// Fix: release last.
use tx_runtime::{Error, Guarded};

struct ReportApi;

impl ReportApi {
    async fn delete_all(&self) {}
}

async fn clean_up(api: &Guarded<ReportApi>) -> Result<(), Error> {
    let permit = api.permit("clean-up").await?;
    let client = permit.client();
    permit.release().await?;
    client.delete_all().await;
    Ok(())
}

fn main() {}
