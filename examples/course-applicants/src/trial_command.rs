//! The command `trial`: a history made by hand and one that is generated, and the table of what
//! they do to the changes.

use std::ops::RangeInclusive;
use std::process::ExitCode;

use course_applicants::service::Applicants;
use course_applicants::store::Store;
use course_applicants::story;
use course_applicants::tables::{self, Variant};
use course_applicants::trial::{self, CHANGES, Outcome};
use stage::{Column, Failure, Table, make};
use tx_runtime::Db;
use tx_runtime::history::{Fault, Report};

use crate::arguments::Trial;

/// Every variant in turn, on tables that are removed afterwards.
///
/// Only what is right can fail: the incident is there to be seen.
pub(crate) async fn run<DB: Store>(db: &Db<DB>, trial: &Trial) -> Result<ExitCode, Failure> {
    if !tables::are_absent(db).await? {
        return Err(
            "there is a table `applicant` or `applicant_history` already, and the trial makes and \
             removes its own: drop what a trial has left, or say another database"
                .into(),
        );
    }
    println!(
        "{} applicants on {}, each changed {CHANGES} times by one of four clerks\n",
        trial.applicants,
        make::<DB>()
    );
    let mut run = Run {
        db,
        applicants: i64::from(trial.applicants),
        table: table(),
        notes: Vec::new(),
        faults: 0,
    };
    println!("{}", run.table.heading());
    for &variant in &trial.variants {
        let created = tables::create(db, variant).await;
        if created.is_err() {
            DB::script(db.pool(), DB::REMOVE).await?;
        }
        let missing = created?;
        let outcome = match variant {
            Variant::HandMade => run.hand_made().await,
            Variant::Generated => run.generated().await,
        };
        tables::remove(db, &missing).await?;
        outcome?;
    }
    for note in &run.notes {
        println!("\n{note}");
    }
    if run.faults > 0 {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn table() -> Table<6> {
    Table::new([
        Column::words("history").at_least(17),
        Column::words("verify at start").at_least(26),
        Column::figures("changes tried"),
        Column::figures("stored"),
        Column::figures("lost"),
        Column::figures("revisions"),
    ])
}

/// A run of the command.
struct Run<'a, DB: Store> {
    db: &'a Db<DB>,
    applicants: i64,
    table: Table<6>,
    /// What is said below the table.
    notes: Vec<String>,
    /// What has happened and must not.
    faults: usize,
}

impl<DB: Store> Run<'_, DB> {
    async fn hand_made(&mut self) -> Result<(), Failure> {
        let name = &Variant::HandMade.to_string();
        let harm = self
            .trial(name, "switched off", 1..=self.applicants)
            .await?;
        match harm.failure {
            Some(failure) => self.note(format!("{name}, changes were lost like this:\n{failure}")),
            None => self.note(format!("{name}: the fault did not show")),
        }

        let report = tables::verify(self.db).await?;
        let found = format!("{} faults: does not start", report.findings().len());
        self.row(name, &found, &Outcome::default());
        self.explain(&report);

        tables::mend(self.db, &report).await?;
        let others = self.applicants + 1..=2 * self.applicants;
        self.checked_trial("hand-made, mended", others).await
    }

    async fn generated(&mut self) -> Result<(), Failure> {
        let name = &Variant::Generated.to_string();
        self.checked_trial(name, 1..=self.applicants).await?;
        let changes = Applicants::of(self.db.clone()).await?.changes(1).await?;
        self.note(format!(
            "{name}, the history of applicant 1:\n{}",
            story::told(&changes)
        ));
        Ok(())
    }

    /// As the service starts: not if anything is wrong.
    async fn checked_trial(&mut self, name: &str, ids: RangeInclusive<i64>) -> Result<(), Failure> {
        tables::verify(self.db).await?.into_result()?;
        let outcome = self.trial(name, "nothing wrong", ids).await?;
        let unrecorded = outcome.stored.abs_diff(outcome.revisions);
        if outcome.lost() + unrecorded > 0 {
            self.faults += 1;
            let failure = outcome.failure.unwrap_or_default();
            self.note(format!("{name}: WRONG: this must not happen: {failure}"));
        }
        Ok(())
    }

    async fn trial(
        &mut self,
        name: &str,
        verify: &str,
        ids: RangeInclusive<i64>,
    ) -> Result<Outcome, Failure> {
        let progress = stage::bar(name, self.applicants.unsigned_abs());
        let outcome = trial::run(self.db, ids, &progress).await;
        progress.finish_and_clear();
        let outcome = outcome?;
        self.row(name, verify, &outcome);
        Ok(outcome)
    }

    fn row(&self, name: &str, verify: &str, outcome: &Outcome) {
        let row = self.table.row([
            name.to_owned(),
            verify.to_owned(),
            outcome.tried.to_string(),
            outcome.stored.to_string(),
            outcome.lost().to_string(),
            outcome.revisions.to_string(),
        ]);
        println!("{row}");
    }

    /// The wrong key in full, the rest in a few words: `serve` says all of it.
    fn explain(&mut self, report: &Report) {
        let (key, others): (Vec<_>, Vec<_>) = report
            .findings()
            .iter()
            .partition(|finding| matches!(finding.fault, Fault::PrimaryKey { .. }));
        let mut lines = vec!["hand-made, why it does not start:".to_owned()];
        lines.extend(key.iter().map(ToString::to_string));
        let others = others.iter();
        lines.extend(others.map(|finding| format!("and, with its fix: {}", finding.fault)));
        if key.is_empty() {
            self.faults += 1;
            lines.push("WRONG: the key was not found".to_owned());
        }
        self.note(lines.join("\n"));
    }

    fn note(&mut self, note: String) {
        self.notes.push(note);
    }
}
