//! What the tables hold, held against what the users were told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::row::Row;
use crate::storm::Answers;

/// What a storm left behind, and where it differs from what it should have.
#[derive(Debug)]
pub struct Report {
    /// How many accounts added assets.
    pub accounts: usize,
    /// How many requests there were.
    pub requests: usize,
    /// Rows beyond the one that an account may have.
    pub duplicate_rows: usize,
    /// Requests that were not answered with success.
    pub failed_requests: usize,
    /// Assets that a user was told are registered, but that no row lists or whose
    /// notification is off.
    pub lost_assets: usize,
    /// Half of the requests took no longer than this.
    pub p50: Duration,
    /// 99 of 100 requests took no longer than this.
    pub p99: Duration,
    /// How often each failure was seen.
    pub failures: BTreeMap<String, usize>,
}

impl Report {
    /// Compares the `rows` and notifications of so many `accounts` with the `answers`.
    pub(crate) fn new(
        accounts: usize,
        rows: &[Row],
        notified: Vec<(i64, i64)>,
        mut answers: Answers,
    ) -> Self {
        let with_row: BTreeSet<i64> = rows.iter().map(|row| row.account).collect();
        let listed: BTreeSet<(i64, i64)> = rows
            .iter()
            .flat_map(|row| row.assets.iter().map(|&asset| (row.account, asset)))
            .collect();
        let notified = BTreeSet::from_iter(notified);
        let is_lost = |pair: &&(i64, i64)| !listed.contains(pair) || !notified.contains(pair);
        answers.latencies.sort_unstable();
        Self {
            accounts,
            requests: answers.latencies.len(),
            duplicate_rows: rows.len() - with_row.len(),
            failed_requests: answers.failures.values().sum(),
            lost_assets: answers.acknowledged.iter().filter(is_lost).count(),
            p50: percentile(&answers.latencies, 50),
            p99: percentile(&answers.latencies, 99),
            failures: answers.failures,
        }
    }

    /// How much went wrong, all kinds together.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.duplicate_rows + self.failed_requests + self.lost_assets
    }
}

/// The smallest of the `sorted` values that `percent` of them do not exceed; 0 of none.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    let value = sorted.get(rank.saturating_sub(1));
    value.copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Answers, Report, Row, percentile};

    /// The report on account 1, whose user was told that assets 52 and 3 are registered.
    fn report(rows: &[&[i64]], notifications: &[i64]) -> Report {
        let rows: Vec<_> = (1..)
            .zip(rows)
            .map(|(id, assets)| Row {
                id: Some(id),
                account: 1,
                assets: assets.to_vec(),
            })
            .collect();
        let notifications = notifications.iter().map(|&asset| (1, asset)).collect();
        let answers = Answers {
            acknowledged: [(1, 52), (1, 3)].into(),
            ..Answers::default()
        };
        Report::new(1, &rows, notifications, answers)
    }

    #[test]
    fn one_row_with_every_asset_is_right() {
        assert_eq!(report(&[&[52, 3]], &[3, 52]).faults(), 0);
    }

    #[test]
    fn each_fault_is_seen() {
        let duplicate = report(&[&[52], &[3], &[3]], &[3, 52]);
        assert_eq!((duplicate.duplicate_rows, duplicate.faults()), (2, 2));
        let lost = report(&[&[523]], &[3, 52]);
        assert_eq!((lost.lost_assets, lost.faults()), (2, 2));
        let silent = report(&[&[52, 3]], &[52]);
        assert_eq!((silent.lost_assets, silent.faults()), (1, 1));
    }

    #[test]
    fn a_failure_is_a_fault() {
        let answers = Answers {
            failures: [("500".to_owned(), 2), ("503".to_owned(), 1)].into(),
            ..Answers::default()
        };
        let report = Report::new(1, &[], Vec::new(), answers);
        assert_eq!((report.failed_requests, report.faults()), (3, 3));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let took: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&took, 50), Duration::from_millis(100));
        assert_eq!(percentile(&took, 99), Duration::from_millis(198));
        assert_eq!(percentile(&took[..1], 50), Duration::from_millis(1));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }
}
