//! The command `trial`: every variant in turn, and the table of what came of it.

use std::process::ExitCode;
use std::time::Duration;

use stage::{Column, Failure, Table, bar, close, make};
use stock_stats::report::Report;
use stock_stats::store::Store;
use stock_stats::trial;
use stock_stats::variant::{Server, Variant};
use strum::VariantArray as _;
use tx_runtime::{Db, TicketLocks};

use crate::arguments::Trial;
use crate::database::{Place, Task};

/// How often a batch asks whether it is its turn: days are short here.
const POLL: Duration = Duration::from_millis(10);

impl Task for Trial {
    /// Only the right variant can fail: the others are there to show the incident.
    async fn run<DB: Store>(&self, place: &Place<DB>) -> Result<ExitCode, Failure> {
        let table = table();
        println!(
            "two batches on {}: {} users, prices by the seed {}\n\n{}",
            make::<DB>(),
            self.size.users,
            self.seed,
            table.heading()
        );
        let elsewhere = place.elsewhere().await?;
        let mut reports = Vec::new();
        for &variant in &self.variants {
            let report = self
                .put_to_the_test(variant, [&place.db, &elsewhere])
                .await?;
            println!("{}", table.row(cells(variant, &report)));
            reports.push((variant, report));
        }
        close(elsewhere).await;
        println!();
        for (variant, report) in &reports {
            explain::<DB>(*variant, report);
        }
        let mut of_right_ones = reports.iter().filter(|(variant, _)| variant.is_right());
        if of_right_ones.any(|(_, report)| report.faults() > 0) {
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Trial {
    async fn put_to_the_test<DB: Store>(
        &self,
        variant: Variant,
        processes: [&Db<DB>; 2],
    ) -> Result<Report, Failure> {
        let server = |db| Server::new(variant, Db::clone(db), TicketLocks::new(db).poll(POLL));
        let runs = u64::from(self.size.days) * u64::from(self.size.refreshes);
        let progress = bar(variant.to_string(), runs);
        let report = trial::run(&processes.map(server), self.size, self.seed, &progress).await;
        progress.finish_and_clear();
        Ok(report?)
    }
}

/// A line for each variant.
fn table() -> Table<7> {
    Table::new([
        Column::words("variant").holding(Variant::VARIANTS),
        Column::figures("days"),
        Column::figures("refreshes"),
        Column::figures("failed runs"),
        Column::figures("closed days overwritten"),
        Column::figures("wrong rows"),
        Column::figures("untrue successes"),
    ])
}

fn cells(variant: Variant, report: &Report) -> [String; 7] {
    [
        variant.to_string(),
        report.days.to_string(),
        report.refreshes.to_string(),
        report.failed_runs.to_string(),
        report.overwritten_days.to_string(),
        report.wrong_rows.to_string(),
        report.untrue_successes.to_string(),
    ]
}

/// What a line of the table does not say.
fn explain<DB: Store>(variant: Variant, report: &Report) {
    for (failure, count) in &report.failures {
        println!("{variant}: {count} x {failure}");
    }
    let (failed, overwritten) = (report.failed_runs, report.overwritten_days);
    match (variant.is_right(), overwritten) {
        (true, _) if report.faults() > 0 => println!("{variant}: WRONG: this must not happen"),
        (true, _) => {}
        (false, 0) if failed > 0 => println!(
            "{variant}: {} does not let a transaction write after others have written since it read; the days are right",
            make::<DB>()
        ),
        (false, 0) => println!("{variant}: the fault did not show this time; try more days"),
        (false, _) => println!(
            "{variant}: {overwritten} days are not as they were closed, and the log says {} times that it went well",
            report.untrue_successes
        ),
    }
}
