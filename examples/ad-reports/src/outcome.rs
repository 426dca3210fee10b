//! What is in the tables, held against what the runs have said.

use std::collections::BTreeSet;

use sqlx::Pool;

use crate::api::Seen;
use crate::plan::Plan;
use crate::store::{Logged, Store};

/// What came of a trial.
#[derive(Debug)]
pub struct Outcome {
    /// How many accounts there were.
    pub accounts: usize,
    /// How many runs, all accounts together.
    pub runs: usize,
    /// How many days they were to import, all runs together.
    pub days: usize,
    /// How many of these are in the table.
    pub imported_days: usize,
    /// Days of which a run has said that it has imported them, and that are not in the table.
    pub lost_days: usize,
    /// What runs have said that did not succeed.
    pub failures: Vec<String>,
    /// What the API has seen.
    pub seen: Seen,
}

impl Outcome {
    /// Reads the tables after a trial.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub async fn of<DB: Store>(pool: &Pool<DB>, plan: &Plan, seen: Seen) -> sqlx::Result<Self> {
        let imported = DB::days_of(pool, &plan.accounts).await?;
        let log = DB::log_of(pool, &plan.accounts).await?;
        Ok(Self::new(plan, imported, log, seen))
    }

    fn new(plan: &Plan, imported: Vec<(i64, i64)>, log: Vec<Logged>, seen: Seen) -> Self {
        let runs = [plan.by_hand(), plan.nightly()].concat();
        let imported = BTreeSet::from_iter(imported);
        let (succeeded, failed): (Vec<_>, Vec<_>) =
            log.into_iter().partition(|run| run.outcome == "SUCCESS");
        let said = succeeded
            .into_iter()
            .flat_map(|run| run.days.map(move |day| (run.account, day)));
        Self {
            accounts: plan.accounts.clone().count(),
            days: runs.iter().map(|run| run.days.clone().count()).sum(),
            runs: runs.len(),
            lost_days: said.filter(|day| !imported.contains(day)).count(),
            imported_days: imported.len(),
            failures: failed.into_iter().map(|run| run.outcome).collect(),
            seen,
        }
    }

    /// Whether every day is there, and no session has met another one.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.imported_days == self.days
            && self.lost_days == 0
            && self.failures.is_empty()
            && self.seen.overlapping_sessions == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Logged, Outcome, Plan, Seen};

    /// Of one account, days 1 and 2 of which are imported at night and 3 and 4 by hand.
    fn outcome(imported: &[i64], outcomes: [&str; 2], seen: Seen) -> Outcome {
        let plan = Plan {
            accounts: 7..=7,
            days: 2,
            manual_runs: 1,
        };
        let imported = imported.iter().map(|&day| (7, day)).collect();
        let log = [1..=2, 3..=4].into_iter().zip(outcomes);
        let log = log.map(|(days, outcome)| Logged {
            account: 7,
            days,
            outcome: outcome.to_owned(),
        });
        Outcome::new(&plan, imported, log.collect(), seen)
    }

    #[test]
    fn all_days_are_right() {
        let right = outcome(&[1, 2, 3, 4], ["SUCCESS"; 2], Seen::default());
        assert!(right.is_right(), "{right:?}");
        assert_eq!((right.accounts, right.runs, right.days), (1, 2, 4));
    }

    #[test]
    fn a_day_is_lost_if_its_run_has_said_success() {
        let lost = outcome(&[1, 4], ["SUCCESS"; 2], Seen::default());
        assert_eq!((lost.imported_days, lost.lost_days), (2, 2));
        assert!(!lost.is_right());
        let failed = outcome(&[1, 2], ["SUCCESS", "FAILED: 500"], Seen::default());
        assert_eq!((failed.lost_days, failed.failures.len()), (0, 1));
        assert!(!failed.is_right());
    }

    #[test]
    fn luck_is_not_right() {
        let seen = Seen {
            overlapping_sessions: 2,
            ..Seen::default()
        };
        assert!(!outcome(&[1, 2, 3, 4], ["SUCCESS"; 2], seen).is_right());
    }
}
