//! What the tables hold, held against what the clients were told.

use std::collections::BTreeMap;
use std::fmt;

use tx_runtime::Db;

use crate::store::{Row, Store};
use crate::storm::Answers;

/// What a run left in the tables, and where it differs from what it should be.
#[derive(Debug)]
pub(crate) struct Report {
    accounts: usize,
    rows: usize,
    /// Of the account that has the most.
    most_rows: usize,
    /// Accounts with more than one row.
    duplicates: usize,
    /// Assets that a row lists twice.
    listed_twice: usize,
    /// Assets that a client was told are registered and no row lists.
    lost: usize,
    notifications: i64,
    answers: Answers,
}

impl Report {
    /// Reads the tables in one transaction.
    pub(crate) async fn read<DB: Store>(
        db: &Db<DB>,
        answers: Answers,
    ) -> Result<Self, tx_runtime::Error> {
        let (rows, notifications) = db
            .transaction(async || {
                let rows = DB::all_rows(db).await?;
                Ok::<_, tx_runtime::Error>((rows, DB::count_notifications(db).await?))
            })
            .await?;
        Ok(Self::of(&rows, notifications, answers))
    }

    fn of(rows: &[Row], notifications: i64, answers: Answers) -> Self {
        let mut rows_of = BTreeMap::<i64, usize>::new();
        let mut listings = BTreeMap::<(i64, String), usize>::new();
        for row in rows {
            *rows_of.entry(row.account).or_default() += 1;
            for asset in row.assets() {
                *listings.entry((row.account, asset.to_owned())).or_default() += 1;
            }
        }
        let is_lost = |&&(account, asset): &&(i64, i64)| {
            !listings.contains_key(&(account, asset.to_string()))
        };
        Self {
            accounts: rows_of.len(),
            rows: rows.len(),
            most_rows: rows_of.values().copied().max().unwrap_or_default(),
            duplicates: rows_of.values().filter(|&&rows| rows > 1).count(),
            listed_twice: listings.values().filter(|&&times| times > 1).count(),
            lost: answers.acknowledged.iter().filter(is_lost).count(),
            notifications,
            answers,
        }
    }

    /// Whether every tap succeeded and left what it should.
    pub(crate) fn is_right(&self) -> bool {
        let expected = i64::try_from(self.answers.acknowledged.len());
        self.duplicates == 0
            && self.listed_twice == 0
            && self.lost == 0
            && self.answers.failures.is_empty()
            && expected == Ok(self.notifications)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed: usize = self.answers.failures.values().sum();
        let lines = [
            ("accounts", self.accounts.to_string()),
            ("rows", self.rows.to_string()),
            ("most rows of one account", self.most_rows.to_string()),
            ("accounts with duplicate rows", self.duplicates.to_string()),
            ("assets listed twice", self.listed_twice.to_string()),
            ("assets lost", self.lost.to_string()),
            ("notifications", self.notifications.to_string()),
            ("taps", self.answers.requests.to_string()),
            ("taps failed", failed.to_string()),
            ("time", format!("{:.2?}", self.answers.elapsed)),
        ];
        for (what, value) in lines {
            writeln!(f, "{what:<30}{value:>10}")?;
        }
        for (text, count) in &self.answers.failures {
            writeln!(f, "{count:>8} x {text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::store::Row;
    use crate::storm::Answers;

    fn report(rows: &[(i64, &str)], notifications: i64) -> Report {
        let rows: Vec<_> = (1..)
            .zip(rows)
            .map(|(id, &(account, assets))| Row::from((id, account, assets.to_owned())))
            .collect();
        let answers = Answers {
            acknowledged: [(1, 52), (1, 3)].into(),
            ..Answers::default()
        };
        Report::of(&rows, notifications, answers)
    }

    #[test]
    fn one_row_with_every_asset_is_right() {
        assert!(report(&[(1, "52,3")], 2).is_right());
    }

    #[test]
    fn each_fault_is_seen() {
        let duplicate = report(&[(1, "52"), (1, "3")], 2);
        assert_eq!((duplicate.duplicates, duplicate.most_rows), (1, 2));
        let lost = report(&[(1, "523")], 2);
        assert_eq!((lost.lost, lost.accounts), (2, 1));
        let twice = report(&[(1, "52,3,52")], 2);
        assert_eq!(twice.listed_twice, 1);
        for wrong in [duplicate, lost, twice, report(&[(1, "52,3")], 1)] {
            assert!(!wrong.is_right(), "{wrong}");
        }
    }
}
