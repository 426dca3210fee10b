//! What one line of the picture shows.

use std::time::Duration;

/// Something that took time. Times count from when the [`Timeline`](super::Timeline) was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lane {
    /// What it is.
    pub kind: LaneKind,
    /// The function of a scope, the keys of a lock, the number of a transaction, the kind of a hook.
    pub name: String,
    /// How many other lanes it lies in.
    pub depth: usize,
    /// Since when it was wanted: a lock, or the connection of a transaction.
    pub asked: Duration,
    /// Since when it was had; `None` as long as it was not, or if it never was.
    pub start: Option<Duration>,
    /// `None` as long as it goes on.
    pub end: Option<Duration>,
    /// How it has ended, in the words of `TRACING.md`; locks end without a word.
    pub outcome: Option<String>,
    /// Of a transaction: what was sent to the database in it, as sqlx logs it: BEGIN and COMMIT
    /// too, where they are statements to the driver. At most a thousand.
    pub statements: Vec<Statement>,
}

/// What a [`Lane`] shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LaneKind {
    /// One execution of a transactional function or closure.
    Scope,
    /// Locks: waited for, then held.
    Lock,
    /// A physical transaction: its connection waited for, then BEGIN to the answer to COMMIT or
    /// ROLLBACK.
    Transaction,
    /// A hook at work.
    Hook,
}

/// Something that was sent to the database, and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statement {
    /// The first words of it.
    pub summary: String,
    /// When it was sent.
    pub start: Duration,
    /// When it was answered.
    pub end: Duration,
}

impl Lane {
    /// How long it was waited for, up to `now` if it still is.
    pub(super) fn wait(&self, now: Duration) -> (Duration, Duration) {
        (self.asked, self.start.or(self.end).unwrap_or(now))
    }

    /// How long it was had, up to `now` if it still is.
    pub(super) fn work(&self, now: Duration) -> Option<(Duration, Duration)> {
        Some((self.start?, self.end.unwrap_or(now)))
    }

    /// What there is to say at its end.
    pub(super) fn verdict(&self) -> &str {
        match (&self.outcome, self.start, self.end) {
            (Some(outcome), ..) => outcome,
            (None, None, Some(_)) => "in vain",
            (None, None, None) => "waiting",
            (None, Some(_), None) => "running",
            (None, Some(_), Some(_)) => "",
        }
    }
}

impl LaneKind {
    /// What it is called in a picture.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Lock => "lock",
            Self::Transaction => "transaction",
            Self::Hook => "hook",
        }
    }
}
