// A lock that is not had in time is reported in the function's own error type.
// Fix: write `impl From<tx_runtime::Error> for ReportError`.
use tx_runtime::{LocalLocks, locked};

struct ReportError;

#[locked(key = "report:{account}", on = *locks)]
async fn report(locks: &LocalLocks, account: i64) -> Result<String, ReportError> {
    if account == 0 {
        return Err(ReportError);
    }
    Ok(format!("report of {account}"))
}

fn main() {}
