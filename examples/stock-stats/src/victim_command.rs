//! The command `victim`: a refresh that stops half-way, for `--crash` to kill it there.

use std::io::Write as _;
use std::process::ExitCode;

use stage::Failure;
use stock_stats::batches::Batches;
use stock_stats::pace::{Pace, Step};
use stock_stats::store::Store;
use tx_runtime::TicketLocks;

use crate::arguments::Victim;
use crate::crash_command::{HALF_WAY, LEASE, POLL, RUNNING};
use crate::database::{Place, Task};

impl Task for Victim {
    async fn run<DB: Store>(&self, place: &Place<DB>) -> Result<ExitCode, Failure> {
        let tickets = TicketLocks::new(&place.db).lease(LEASE).poll(POLL);
        let batches = Batches::new(place.db.clone(), tickets);
        batches.refresh(&OnCommand).await?;
        Err("nobody has killed it".into())
    }
}

/// Tells when the refresh runs and when it is half-way, and goes on when it is told.
struct OnCommand;

impl Pace for OnCommand {
    async fn at(&self, step: Step) {
        match step {
            Step::Begun => told(RUNNING).await,
            Step::Written { rows, of } if rows == of / 2 => told(HALF_WAY).await,
            Step::Read | Step::Written { .. } => {}
        }
    }
}

/// Says `word`, and waits for a line; goes on as well if whoever should say it is gone.
async fn told(word: &str) {
    println!("{word}");
    let waited = tokio::task::spawn_blocking(|| {
        std::io::stdout().flush()?;
        std::io::stdin().read_line(&mut String::new())
    });
    // In either case there is nobody left to wait for.
    waited.await.map(Result::ok).ok();
}
