// The lock opens at the end of `with`, so its permit ends there too.
// Fix: do the work inside.
use tx_runtime::{Error, Guarded};

struct ReportApi;

impl ReportApi {
    async fn delete_all(&self) {}
}

async fn clean_up(api: &Guarded<ReportApi>) -> Result<(), Error> {
    let mut kept = None;
    api.with("clean-up", async |permit| {
        kept = Some(permit);
        Ok::<_, Error>(())
    })
    .await?;
    if let Some(permit) = kept {
        permit.client().delete_all().await;
    }
    Ok(())
}

fn main() {}
