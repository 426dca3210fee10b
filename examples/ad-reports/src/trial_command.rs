//! The command `trial`: each variant in turn, in two processes, and the table of what came of it.

use std::process::ExitCode;
use std::time::Duration;

use ad_reports::api::{Api, Server};
use ad_reports::outcome::Outcome;
use ad_reports::plan::Plan;
use ad_reports::store::Store;
use ad_reports::tickets;
use ad_reports::variant::{Importer, Variant};
use stage::{Column, Failure, Table, make};
use tx_runtime::Db;

use crate::bars;
use crate::batch::Batch;
use crate::line;

/// How long the API works on the report of the first day; minutes, in the incident.
const WORK_TIME: Duration = Duration::from_millis(50);

/// How many of a variant's failures are shown.
const SHOWN_FAILURES: usize = 3;

#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) variants: Vec<Variant>,
    /// Of accounts from 1 on; a trial takes as many that nobody has.
    pub(crate) plan: Plan,
}

impl Trial {
    /// Only the right variant can fail: the other is there to show the incident.
    pub(crate) async fn run<DB: Store>(&self, db: &Db<DB>, url: &str) -> Result<ExitCode, Failure> {
        println!(
            "imports on {}: {} by hand and a nightly one for each account, in two processes, {} days \
             each\n",
            make::<DB>(),
            self.plan.manual_runs,
            self.plan.days
        );
        let table = table();
        println!("{}", table.heading());
        let mut tried = Vec::new();
        for &variant in &self.variants {
            let plan = self.on_new_accounts(db).await?;
            let outcome = put_to_the_test(db, url, variant, &plan).await?;
            println!("{}", table.row(cells(variant, &outcome)));
            tried.push((variant, outcome, plan));
        }
        let mut ended = ExitCode::SUCCESS;
        for (variant, outcome, plan) in &tried {
            explain(*variant, outcome);
            if *variant == Variant::Permit {
                show_line(db, plan).await?;
                if !outcome.is_right() {
                    ended = ExitCode::FAILURE;
                }
            }
        }
        Ok(ended)
    }

    async fn on_new_accounts<DB: Store>(&self, db: &Db<DB>) -> Result<Plan, Failure> {
        let last = DB::last_account(db.pool()).await?;
        let accounts = self.plan.accounts.clone();
        Ok(Plan {
            accounts: last + accounts.start()..=last + accounts.end(),
            ..self.plan.clone()
        })
    }
}

/// On accounts that are gone at the end.
async fn put_to_the_test<DB: Store>(
    db: &Db<DB>,
    url: &str,
    variant: Variant,
    plan: &Plan,
) -> Result<Outcome, Failure> {
    DB::add_accounts(DB::outside(db), plan.accounts.clone()).await?;
    let outcome = in_two_processes(db, url, variant, plan).await;
    DB::delete(db.pool(), &plan.accounts).await?;
    outcome
}

async fn in_two_processes<DB: Store>(
    db: &Db<DB>,
    url: &str,
    variant: Variant,
    plan: &Plan,
) -> Result<Outcome, Failure> {
    let api = Api::new(WORK_TIME);
    let server = Server::start(api.router()).await?;
    let batch = Batch::start(url, server.address(), variant, plan).await?;
    let importer = Importer::new(db, server.address(), variant);
    let by_hand = plan.by_hand();
    let imports = async { tokio::join!(importer.import_all(&by_hand), batch.end()) };
    let (ours, of_the_batch) = tokio::select! {
        ended = imports => ended,
        never = bars::draw(db, &api, plan) => never,
    };
    ours?;
    of_the_batch?;
    Ok(Outcome::of(db.pool(), plan, api.seen()).await?)
}

fn table() -> Table<8> {
    Table::new([
        Column::words("variant").at_least(12),
        Column::figures("accounts"),
        Column::figures("runs"),
        Column::figures("days"),
        Column::figures("imported"),
        Column::figures("lost, said to be imported"),
        Column::figures("overlapping sessions"),
        Column::figures("429s"),
    ])
}

fn cells(variant: Variant, outcome: &Outcome) -> [String; 8] {
    [
        variant.to_string(),
        outcome.accounts.to_string(),
        outcome.runs.to_string(),
        outcome.days.to_string(),
        outcome.imported_days.to_string(),
        outcome.lost_days.to_string(),
        outcome.seen.overlapping_sessions.to_string(),
        outcome.seen.refused.to_string(),
    ]
}

/// Why runs failed, and where the outcome is not what it should be.
fn explain(variant: Variant, outcome: &Outcome) {
    for failure in outcome.failures.iter().take(SHOWN_FAILURES) {
        println!("{variant}: {failure}");
    }
    match (variant, outcome.is_right()) {
        (Variant::Permit, true) | (Variant::StatusCheck, false) => {}
        (Variant::Permit, false) => println!("{variant}: WRONG: this must not happen"),
        (Variant::StatusCheck, true) => {
            println!("{variant}: the fault did not show this time; try more accounts");
        }
    }
}

/// Who had the first account when; `status` shows it for all.
async fn show_line<DB: Store>(db: &Db<DB>, plan: &Plan) -> Result<(), Failure> {
    let first = tickets::key(*plan.accounts.start());
    let runs = u32::try_from(plan.manual_runs + 1)?;
    let log = tickets::of(db).log(&first, runs).await?;
    println!("\nthe line at {first}:\n\n{}", line::table(&log));
    Ok(())
}
