//! Tickets as they are read back.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::office::number;

/// One acquisition of one lock, as the log has it. All times are the database's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ticket {
    /// Its number: tickets for one key are served in the order of their numbers.
    pub id: i64,
    /// The lock's name.
    pub key: String,
    /// What it was wanted for: [`Lock::label`](crate::Lock::label), or the function's name.
    pub label: String,
    /// How it stands with it.
    pub state: TicketState,
    /// Greater than those of all tickets that have held this key before; `None` if it never
    /// held it.
    pub token: Option<i64>,
    /// Function, process and host.
    pub owner: String,
    /// The ticket that was just before it in the line when it asked.
    pub waits_on: Option<i64>,
    /// Why it has ended without being done.
    pub error: Option<String>,
    /// When it asked.
    pub requested: SystemTime,
    /// When it came to hold the lock.
    pub started: Option<SystemTime>,
    /// When its process was last known to be alive; `None` once the ticket has ended.
    pub heartbeat: Option<SystemTime>,
    /// When it should have ended: [`TicketLocks::deadline`](super::TicketLocks::deadline) after it started.
    pub deadline: Option<SystemTime>,
    /// When it ended.
    pub ended: Option<SystemTime>,
    /// When it was read.
    now: SystemTime,
}

/// How it stands with a [`Ticket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TicketState {
    /// In line for its lock.
    Waiting,
    /// It holds the lock, and its process is alive or was so within its lease.
    Running,
    /// What was done under the lock is done: stored for certain, if it was one transaction of the
    /// tickets' own database.
    Done,
    /// It failed, panicked or was rolled back.
    Failed,
    /// Its process was not heard of for longer than its lease; somebody else may hold the lock.
    Abandoned,
    /// Nobody wanted it any longer: its future was dropped, or the wait was over.
    Cancelled,
}

impl Ticket {
    /// How long it has waited, or did wait until it started or ended.
    #[must_use]
    pub fn waited(&self) -> Duration {
        let until = self.started.or(self.ended).unwrap_or(self.now);
        since(self.requested, until)
    }

    /// How long it has held the lock; `None` if it never did.
    #[must_use]
    pub fn ran(&self) -> Option<Duration> {
        let started = self.started?;
        Some(since(started, self.ended.unwrap_or(self.now)))
    }

    /// Whether it holds the lock for longer than its deadline allows.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        let late = self.deadline.is_some_and(|deadline| deadline < self.now);
        self.state == TicketState::Running && late
    }

    pub(super) fn from_cells(row: &[Option<String>]) -> Option<Self> {
        let text = |at: usize| row.get(at).cloned().flatten();
        let time = |at: usize| number(row.get(at)).and_then(from_micros);
        Some(Self {
            id: number(row.first())?,
            key: text(1)?,
            label: text(2)?,
            state: TicketState::named(&text(3)?)?,
            token: number(row.get(4)),
            owner: text(5)?,
            waits_on: number(row.get(6)),
            error: text(7),
            requested: time(8)?,
            started: time(9),
            heartbeat: time(10),
            deadline: time(11),
            ended: time(12),
            now: time(13)?,
        })
    }
}

impl TicketState {
    const ALL: [Self; 6] = [
        Self::Waiting,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Abandoned,
        Self::Cancelled,
    ];

    /// As it stands in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Running => "RUNNING",
            Self::Done => "DONE",
            Self::Failed => "FAILED",
            Self::Abandoned => "ABANDONED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Whether nothing more will become of it.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for TicketState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

fn since(earlier: SystemTime, later: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

fn from_micros(micros: i64) -> Option<SystemTime> {
    let micros = Duration::from_micros(u64::try_from(micros).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(micros)
}
