//! The batch as the process that a trial starts.

use std::env;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use ad_reports::plan::Plan;
use ad_reports::variant::Variant;
use stage::Failure;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::nightly_command::READY;

/// How long it may take to connect.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long it may take in all.
const LIMIT: Duration = Duration::from_mins(5);

/// A process that is killed if nobody waits for its end.
#[derive(Debug)]
pub(crate) struct Batch(Child);

impl Batch {
    /// Returns when it begins to import.
    pub(crate) async fn start(
        url: &str,
        api: SocketAddr,
        variant: Variant,
        plan: &Plan,
    ) -> Result<Self, Failure> {
        let mut child = Command::new(env::current_exe()?)
            .args(["nightly", "--database-url", url])
            .args(["--variant", &variant.to_string()])
            .args(["--api", &api.to_string()])
            .args(["--first-account", &plan.accounts.start().to_string()])
            .args(["--accounts", &plan.accounts.clone().count().to_string()])
            .args(["--days", &plan.days.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().ok_or("the batch has no output")?;
        let mut lines = BufReader::new(output).lines();
        match timeout(START_LIMIT, lines.next_line()).await?? {
            Some(line) if line == READY => Ok(Self(child)),
            said => Err(format!("the batch does not begin: {said:?}").into()),
        }
    }

    pub(crate) async fn end(mut self) -> Result<(), Failure> {
        let status = timeout(LIMIT, self.0.wait()).await??;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the batch ended with {status}").into())
        }
    }
}
