//! A progress bar for each account, with whoever has it and how many wait.

use std::time::Duration;

use ad_reports::api::Api;
use ad_reports::plan::Plan;
use ad_reports::store::Store;
use ad_reports::tickets;
use stage::{MultiProgress, ProgressBar, bar};
use tx_runtime::{Db, Ticket, TicketLocks, TicketState};

/// How often they are drawn.
const STEP: Duration = Duration::from_millis(100);

/// Draws them until it is dropped; nothing if nobody watches.
pub(crate) async fn draw<DB: Store>(db: &Db<DB>, api: &Api, plan: &Plan) -> ! {
    let bars = Bars::of(plan);
    let tickets = tickets::of(db);
    loop {
        if !bars.all.is_hidden() {
            bars.update(api, &tickets).await;
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Gone when they are dropped.
struct Bars {
    all: MultiProgress,
    of_accounts: Vec<(i64, ProgressBar)>,
}

impl Bars {
    fn of(plan: &Plan) -> Self {
        let all = MultiProgress::new();
        let days = plan.days_of_account().unsigned_abs();
        let of_account = |account| {
            let bar = bar(format!("account {account}"), days);
            (account, all.add(bar))
        };
        Self {
            of_accounts: plan.accounts.clone().map(of_account).collect(),
            all,
        }
    }

    async fn update<DB: Store>(&self, api: &Api, tickets: &TicketLocks<DB>) {
        for (account, bar) in &self.of_accounts {
            // A line that cannot be read is no reason to end a trial.
            let line = tickets.current(&tickets::key(*account)).await;
            bar.set_message(summary(&line.unwrap_or_default()));
            bar.set_position(api.seen_of(*account).created as u64);
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for (_, bar) in &self.of_accounts {
            bar.finish_and_clear();
        }
    }
}

fn summary(line: &[Ticket]) -> String {
    let (first, behind) = match line {
        [first, behind @ ..] if first.state == TicketState::Running => (&*first.label, behind),
        all => ("", all),
    };
    match behind.len() {
        0 => first.to_owned(),
        waiting => format!("{first} ({waiting} wait)"),
    }
}
