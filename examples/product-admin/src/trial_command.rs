//! What the program does: every way out of every variant, and a table of what came of it.

use std::process::ExitCode;

use product_admin::report::{Report, Sale};
use product_admin::store::Store;
use product_admin::trial;
use product_admin::variant::Variant;
use product_admin::way::Way;
use sqlx::{Connection, Database};
use stage::{Column, Failure, Table, bar, make};
use strum::VariantArray as _;

use crate::arguments::Trials;

type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// Only a right variant can fail: the other is there to show the incident.
pub(crate) async fn run<DB: Store>(
    options: &Options<DB>,
    trials: &Trials,
) -> Result<ExitCode, Failure> {
    println!(
        "a job leaves early on {}, and then there is a sale on each of {} connections\n",
        make::<DB>(),
        trial::CONNECTIONS
    );
    let mut reports = Vec::new();
    let total = trials.variants.len() * trials.ways.len();
    let progress = bar("ways out", total as u64);
    for &variant in &trials.variants {
        for &way in &trials.ways {
            let report = trial::run::<DB>(options, variant, way).await?;
            reports.push((variant, way, report));
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    for &variant in &trials.variants {
        let of_this = reports.iter().find(|(of, ..)| *of == variant);
        if let Some((_, way, report)) = of_this {
            print_connections(variant, *way, report);
        }
    }
    print_ways(&reports);
    println!("\n{}", DB::PECULIARITY);
    Ok(verdict(&reports))
}

/// What each connection showed and did.
fn print_connections(variant: Variant, way: Way, report: &Report) {
    let rows: Vec<_> = (1..).zip(&report.sales).map(cells).collect();
    let table = Table::new([
        Column::figures("connection"),
        Column::figures("price shown"),
        Column::words("the buyer was told"),
        Column::words("after a restart"),
    ])
    .fitting(&rows);
    println!("{variant}, left by {way}; the price is {}", report.price);
    println!("{}", table.heading());
    for row in rows {
        println!("{}", table.row(row));
    }
    println!();
}

fn cells((connection, sale): (usize, &Sale)) -> [String; 4] {
    let after = match (&sale.refused, sale.stored) {
        (Some(_), _) => "not sold",
        (None, true) => "sold",
        (None, false) => "LOST",
    };
    [
        connection.to_string(),
        sale.price.to_string(),
        sale.refused.clone().unwrap_or_else(|| "sold".to_owned()),
        after.to_owned(),
    ]
}

/// A line for each way out of each variant.
fn print_ways(reports: &[(Variant, Way, Report)]) {
    let table = Table::new([
        Column::words("variant").holding(Variant::VARIANTS),
        Column::words("left by").holding(Way::VARIANTS),
        Column::figures("stale prices"),
        Column::figures("refused sales"),
        Column::figures("lost sales"),
    ]);
    println!("{}", table.heading());
    for (variant, way, report) in reports {
        println!(
            "{}",
            table.row([
                variant.to_string(),
                way.to_string(),
                report.stale().to_string(),
                report.refused().to_string(),
                report.lost().to_string(),
            ])
        );
    }
}

fn verdict(reports: &[(Variant, Way, Report)]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (variant, way, report) in reports {
        match (variant.is_right(), report.faults()) {
            (true, 0) | (false, 1..) => {}
            (true, _) => {
                println!("{variant}, left by {way}: WRONG: this must not happen");
                code = ExitCode::FAILURE;
            }
            (false, _) => println!("{variant}, left by {way}: the fault did not show this time"),
        }
    }
    code
}
