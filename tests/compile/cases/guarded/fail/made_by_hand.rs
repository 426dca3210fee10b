// A permit comes out of its lock, and from nowhere else.
// Fix: `api.permit("clean-up").await?`.
use tx_runtime::Permit;

struct ReportApi;

fn forged(client: &ReportApi) -> Permit<'_, ReportApi> {
    Permit { client }
}

fn main() {}
