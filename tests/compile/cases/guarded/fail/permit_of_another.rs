// A permit is for the client behind its own lock.
// Fix: take a permit of the client that is meant.
use tx_runtime::{Error, Guarded, Permit};

struct ReportApi;
struct BillingApi;

async fn delete_all(_: &Permit<'_, ReportApi>) -> Result<(), Error> {
    Ok(())
}

async fn clean_up(billing: &Guarded<BillingApi>) -> Result<(), Error> {
    let permit = billing.permit("clean-up").await?;
    delete_all(&permit).await?;
    permit.release().await
}

fn main() {}
