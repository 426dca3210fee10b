//! What many runs come to, and whether one of them is a lie.

use tx_tests::Backend;

use crate::fault::Fault;
use crate::lane::{Case, Seen};
use crate::work::{Ending, Form, Told};

/// Why most of plain sqlx's runs are false: an error was told.
pub(crate) const ROLLED_BACK: &str = "told as rolled back";

/// The runs of one form.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) runs: usize,
    pub(crate) committed: usize,
    pub(crate) rolled_back: usize,
    pub(crate) unknown: usize,
    /// Callers that had gone, and what was stored all the same.
    pub(crate) gone: usize,
    pub(crate) stored_though_gone: usize,
    /// What only the server could tell, and did.
    pub(crate) resolved: usize,
    /// Of these, those whose asking was cut off as well.
    pub(crate) resolved_again: usize,
    /// What would have committed had its time not been over.
    pub(crate) expired: usize,
    /// Callers that were told something else than what is stored.
    pub(crate) lies: Vec<String>,
    /// Runs after which something was left on the server or in the pool.
    pub(crate) left: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.committed += other.committed;
        self.rolled_back += other.rolled_back;
        self.unknown += other.unknown;
        self.gone += other.gone;
        self.stored_though_gone += other.stored_though_gone;
        self.resolved += other.resolved;
        self.resolved_again += other.resolved_again;
        self.expired += other.expired;
        self.lies.extend(other.lies);
        self.left.extend(other.left);
    }

    /// `commit`: which message of the undisturbed run is COMMIT.
    pub(crate) fn judge<B: Backend>(&mut self, case: Case, commit: Option<usize>, seen: &Seen) {
        self.runs += 1;
        *match seen.told {
            Some(Told::Committed) => &mut self.committed,
            Some(Told::RolledBack) => &mut self.rolled_back,
            Some(Told::Unknown) => &mut self.unknown,
            None => &mut self.gone,
        } += 1;
        let known = seen.told.is_some_and(|told| told != Told::Unknown);
        self.resolved += usize::from(seen.asked && known);
        self.resolved_again += usize::from(seen.asked && known && seen.struck_again);
        self.expired += usize::from(case.is_expired() && seen.told == Some(Told::RolledBack));
        self.stored_though_gone += usize::from(seen.told.is_none() && seen.stored != [0, 0]);
        if let Err(lie) = truth::<B>(case, commit, seen) {
            self.lies
                .push(format!("{} {case}: {lie}: {seen:?}", B::LABEL));
        }
        if let Some(left) = &seen.left {
            self.left.push(format!("{} {case}: {left}", B::LABEL));
        }
    }
}

/// Whether the caller was told the truth, and as much of it as can be known.
fn truth<B: Backend>(case: Case, commit: Option<usize>, seen: &Seen) -> Result<(), &'static str> {
    let stored = match seen.stored {
        [1, 1] => true,
        [0, 0] => false,
        _ => return Err("stored in part"),
    };
    match seen.told {
        Some(Told::Committed) if !stored => Err("told as committed"),
        Some(Told::RolledBack) if stored => Err(ROLLED_BACK),
        Some(Told::Unknown) if B::TELLS_FATES => Err("the server could have been asked"),
        Some(Told::Unknown) if !case.leaves_doubt(commit) => Err("there was no doubt"),
        // Who is gone has said whether to commit before, or has not.
        None if case.course.form == Form::Ours && stored != case.has_decided(commit) => {
            Err("not what the caller had decided")
        }
        _ => Ok(()),
    }
}

impl Case {
    /// Whether COMMIT was on its way, and its answer had not arrived, when the connection was
    /// lost.
    fn leaves_doubt(self, commit: Option<usize>) -> bool {
        self.fault.loses_connection()
            && commit.is_some_and(|commit| {
                self.point >= commit || (self.point + 1 == commit && self.fault.ends_behind())
            })
    }

    /// Whether it was to commit, and its time was over while a message was under way.
    fn is_expired(self) -> bool {
        self.fault == Fault::Expired && self.course.ending == Ending::Commit
    }

    /// Whether the caller had sent COMMIT when it went.
    fn has_decided(self, commit: Option<usize>) -> bool {
        self.course.ending == Ending::Commit && commit.is_some_and(|commit| self.point >= commit)
    }
}
