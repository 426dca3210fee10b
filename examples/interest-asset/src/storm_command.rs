//! The command `storm`: every variant in turn, and the table of what came of it.

use std::cmp::Reverse;
use std::process::ExitCode;
use std::time::Duration;

use interest_asset::instance::Instance;
use interest_asset::report::Report;
use interest_asset::store::Store;
use interest_asset::storm::ASSETS;
use interest_asset::trial;
use interest_asset::variant::Variant;
use stage::{Column, Failure, Table, bar, make};
use strum::VariantArray as _;

use crate::arguments::Storm;
use crate::instances::Task;
use crate::picture::Picture;

/// How many of a variant's kinds of failures are shown.
const SHOWN_FAILURES: usize = 3;

/// As wide as the longest time that a request may wait.
const LATENCY_WIDTH: usize = "10000.0 ms".len();

impl Task for Storm {
    /// Only a right variant can fail: the others are there to show the incident.
    async fn run<DB: Store>(&self, instances: &[Instance<DB>]) -> Result<ExitCode, Failure> {
        let picture = self.timeline.as_deref().map(Picture::begin).transpose()?;
        let table = table();
        println!(
            "double taps on {}{}: {} users at a time, {} x {} connections\n\n{}",
            make::<DB>(),
            self.database
                .redis
                .as_ref()
                .map_or("", |_| " with locks in Redis"),
            self.clients,
            self.database.instances,
            self.database.pool,
            table.heading()
        );
        let mut reports = Vec::new();
        for &variant in &self.variants {
            let report = self.put_to_the_test(instances, variant).await?;
            println!("{}", table.row(cells(variant, &report)));
            reports.push((variant, report));
        }
        if let Some(picture) = picture {
            picture.draw()?;
        }
        println!();
        for (variant, report) in &reports {
            explain(*variant, report);
        }
        let mut of_right_ones = reports.iter().filter(|(variant, _)| variant.is_right());
        if of_right_ones.any(|(_, report)| report.faults() > 0) {
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Storm {
    /// On accounts that nobody has, and that are gone at the end.
    async fn put_to_the_test<DB: Store>(
        &self,
        instances: &[Instance<DB>],
        variant: Variant,
    ) -> Result<Report, Failure> {
        let pool = instances[0].db.pool();
        let last = DB::last_account(pool).await?;
        let accounts = last + 1..=last + i64::from(self.accounts);
        let taps = u64::from(self.accounts) * ASSETS.len() as u64;
        let progress = bar(variant.to_string(), taps);
        let report = trial::run(
            instances,
            variant,
            accounts.clone(),
            self.clients,
            &progress,
        )
        .await;
        progress.finish_and_clear();
        DB::delete(pool, &accounts).await?;
        Ok(report?)
    }
}

/// A line for each variant.
fn table() -> Table<8> {
    Table::new([
        Column::words("variant").holding(Variant::VARIANTS),
        Column::figures("accounts"),
        Column::figures("requests"),
        Column::figures("duplicate rows"),
        Column::figures("failed requests"),
        Column::figures("lost assets"),
        Column::figures("p50").at_least(LATENCY_WIDTH),
        Column::figures("p99").at_least(LATENCY_WIDTH),
    ])
}

fn cells(variant: Variant, report: &Report) -> [String; 8] {
    [
        variant.to_string(),
        report.accounts.to_string(),
        report.requests.to_string(),
        report.duplicate_rows.to_string(),
        report.failed_requests.to_string(),
        report.lost_assets.to_string(),
        milliseconds(report.p50),
        milliseconds(report.p99),
    ]
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// Why requests failed, and where the outcome is not what it should be.
fn explain(variant: Variant, report: &Report) {
    let mut failures: Vec<_> = report.failures.iter().collect();
    failures.sort_unstable_by_key(|&(_, count)| Reverse(count));
    for (failure, count) in failures.into_iter().take(SHOWN_FAILURES) {
        println!("{variant}: {count} x {failure}");
    }
    match (variant.is_right(), report.faults()) {
        (true, 0) | (false, 1..) => {}
        (true, _) => println!("{variant}: WRONG: this must not happen"),
        (false, _) => println!("{variant}: the fault did not show this time; try more accounts"),
    }
}
