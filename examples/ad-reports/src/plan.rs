//! Who imports what in a trial: no two runs the same day, so that a lost day is seen.

use std::ops::RangeInclusive;

use crate::run::{Path, Run};

/// The runs of a trial. All of them start at the same time, those by hand in one process and
/// the nightly ones in another.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All of them.
    pub accounts: RangeInclusive<i64>,
    /// How many days a run imports.
    pub days: i64,
    /// How often each account is imported by hand. The batch imports it once.
    pub manual_runs: i64,
}

impl Plan {
    /// The runs of users.
    #[must_use]
    pub fn by_hand(&self) -> Vec<Run> {
        let numbers = 1..=self.manual_runs;
        numbers
            .flat_map(|number| self.of_all_accounts(Path::Manual, number))
            .collect()
    }

    /// The runs of the batch.
    #[must_use]
    pub fn nightly(&self) -> Vec<Run> {
        self.of_all_accounts(Path::Nightly, 0).collect()
    }

    /// How many days of each account are imported, all runs together.
    #[must_use]
    pub fn days_of_account(&self) -> i64 {
        self.days * (self.manual_runs + 1)
    }

    fn of_all_accounts(&self, path: Path, number: i64) -> impl Iterator<Item = Run> {
        let before = number * self.days;
        let days = before + 1..=before + self.days;
        self.accounts.clone().map(move |account| Run {
            account,
            path,
            days: days.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Plan;

    #[test]
    fn every_day_of_every_account_is_in_one_run() {
        let plan = Plan {
            accounts: 5..=6,
            days: 3,
            manual_runs: 2,
        };
        let runs = [plan.by_hand(), plan.nightly()].concat();
        assert_eq!(runs.len(), 6);
        let pairs = runs
            .into_iter()
            .flat_map(|run| run.days.map(move |day| (run.account, day)));
        let pairs: Vec<_> = pairs.collect();
        let all = (5..=6).flat_map(|account| (1..=9).map(move |day| (account, day)));
        assert_eq!(pairs.len(), 18);
        assert_eq!(BTreeSet::from_iter(pairs), all.collect());
    }
}
