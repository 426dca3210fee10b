//! What the table of statistics holds, held against what the log says.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::Changed;
use crate::variant::Run;

/// What many midnights left behind, and where it differs from what it should be.
#[derive(Debug)]
pub struct Report {
    /// How many days were to be closed.
    pub days: u32,
    /// How many refreshes there were.
    pub refreshes: usize,
    /// Runs of either batch that the log says have failed.
    pub failed_runs: usize,
    /// Days that were changed after they were closed.
    pub overwritten_days: usize,
    /// Rows of these days that were.
    pub wrong_rows: usize,
    /// Runs that have closed a day, by the log with success, whose work is no longer there.
    pub untrue_successes: usize,
    /// How often the log has each failure.
    pub failures: BTreeMap<String, usize>,
}

impl Report {
    /// Compares the log's `runs` with the rows `changed` after they were closed.
    pub(crate) fn new(days: u32, runs: &[Run], changed: &[Changed]) -> Self {
        let overwritten: BTreeSet<_> = changed.iter().map(|row| row.day).collect();
        let closers: BTreeSet<_> = changed
            .iter()
            .map(|row| format!("open day {}", row.next))
            .collect();
        let is_untrue = |run: &&Run| run.failure.is_none() && closers.contains(&run.batch);
        let mut failures = BTreeMap::new();
        for failure in runs.iter().filter_map(|run| run.failure.clone()) {
            *failures.entry(failure).or_default() += 1;
        }
        Self {
            days,
            refreshes: runs.iter().filter(|run| run.batch == "refresh").count(),
            failed_runs: failures.values().sum(),
            overwritten_days: overwritten.len(),
            wrong_rows: changed.len(),
            untrue_successes: runs.iter().filter(is_untrue).count(),
            failures,
        }
    }

    /// How much went wrong, all kinds together.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.failed_runs + self.overwritten_days + self.wrong_rows + self.untrue_successes
    }
}

#[cfg(test)]
mod tests {
    use super::{Changed, Report, Run};

    fn runs() -> [Run; 3] {
        ["open day 2026-03-01", "refresh", "open day 2026-03-03"].map(|batch| Run {
            batch: batch.to_owned(),
            failure: None,
        })
    }

    /// The day after was not opened, so this one was closed a day late.
    fn changed() -> Changed {
        Changed {
            day: "2026-03-01".parse().expect("a day"),
            next: "2026-03-03".parse().expect("a day"),
        }
    }

    #[test]
    fn a_table_as_it_was_closed_is_right() {
        let report = Report::new(2, &runs(), &[]);
        assert_eq!((report.days, report.refreshes, report.faults()), (2, 1, 0));
    }

    #[test]
    fn each_fault_is_seen() {
        let report = Report::new(2, &runs(), &[changed(); 2]);
        assert_eq!((report.overwritten_days, report.wrong_rows), (1, 2));
        assert_eq!((report.untrue_successes, report.faults()), (1, 4));

        let mut runs = runs();
        runs[2].failure = Some("deadlock".to_owned());
        let report = Report::new(2, &runs, &[changed()]);
        assert_eq!((report.failed_runs, report.untrue_successes), (1, 0));
        assert_eq!(report.failures, [("deadlock".to_owned(), 1)].into());
    }
}
