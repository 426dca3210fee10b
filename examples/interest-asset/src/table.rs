//! The one table that a storm prints, a line as soon as it is known.

use std::fmt::Write as _;
use std::time::Duration;

use interest_asset::report::Report;
use interest_asset::variant::Variant;

const COLUMNS: [&str; 7] = [
    "accounts",
    "requests",
    "duplicate rows",
    "failed requests",
    "lost assets",
    "p50",
    "p99",
];

/// As wide as the longest name of a variant.
const FIRST_WIDTH: usize = 27;

/// As wide as most figures get.
const LEAST_WIDTH: usize = 9;

/// The heading, with a rule below.
pub(crate) fn heading() -> String {
    let heading = line("variant", COLUMNS.map(str::to_owned));
    let rule = "-".repeat(heading.len());
    format!("{heading}\n{rule}")
}

/// The line of one variant.
pub(crate) fn row(variant: Variant, report: &Report) -> String {
    let figures = [
        report.accounts.to_string(),
        report.requests.to_string(),
        report.duplicate_rows.to_string(),
        report.failed_requests.to_string(),
        report.lost_assets.to_string(),
        milliseconds(report.p50),
        milliseconds(report.p99),
    ];
    line(variant.name(), figures)
}

fn line(first: &str, others: [String; 7]) -> String {
    let mut line = format!("{first:<FIRST_WIDTH$}");
    for (title, text) in COLUMNS.iter().zip(others) {
        let width = title.len().max(LEAST_WIDTH) + 2;
        let _ = write!(line, "{text:>width$}"); // a String takes everything
    }
    line
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::{Report, Variant, heading, row};

    #[test]
    fn every_line_is_as_long_as_the_heading() {
        let report = Report {
            accounts: 10_000,
            requests: 80_000,
            duplicate_rows: 12_345,
            failed_requests: 67_890,
            lost_assets: 123,
            p50: Duration::from_micros(1_250),
            p99: Duration::from_secs(10),
            failures: BTreeMap::new(),
        };
        let mut lines: Vec<String> = heading().lines().map(str::to_owned).collect();
        lines.extend(Variant::ALL.map(|variant| row(variant, &report)));
        for line in &lines {
            assert_eq!(line.len(), lines[0].len(), "{}", lines.join("\n"));
        }
        assert!(
            lines[4].ends_with(" 123     1.2 ms 10000.0 ms"),
            "{}",
            lines[4]
        );
    }
}
