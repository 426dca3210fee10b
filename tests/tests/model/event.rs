//! What can be seen of a program while it runs: the words that the model and the run share.

use tx_runtime::{CauseKind, Completion, Error};

use crate::problem::Problem;
use crate::tree::Side;

/// What a program did, or was told, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A statement, and the rows that a SELECT has seen.
    Ran(Result<Vec<i64>, Failure>),
    Looked {
        in_transaction: bool,
        rollback_only: bool,
    },
    RollbackOnly(Result<(), Failure>),
    Registered(usize, Result<(), Failure>),
    Hook {
        id: usize,
        /// Told to hooks for any end.
        completion: Option<Completion>,
        /// On the left and on the right.
        in_transaction: [bool; 2],
        /// What became of the row that it inserts.
        wrote: Option<Result<(), Failure>>,
    },
    /// What an explicit transaction's `rollback` said.
    UndoneByHand(Result<(), Failure>),
    Ended {
        call: usize,
        how: Ending,
    },
    /// What a panic or a drop has left to do is done.
    Settled,
}

/// How a call came back to its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Returned(Result<(), Failure>),
    /// With the number of the call that panicked.
    Panicked(usize),
    Dropped,
}

/// The kind of an error, and whom it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The body's own, with the number of its call.
    Own(usize),
    Benign(usize),
    Duplicate,
    OutsideScope,
    NoTransaction,
    TransactionActive {
        function: &'static str,
        outer: &'static str,
    },
    NoLockHeld {
        function: &'static str,
    },
    Doomed {
        function: &'static str,
        by: &'static str,
        cause: CauseKind,
    },
    RolledBack {
        function: &'static str,
        reason: String,
        meant_benign: bool,
    },
    UnexpectedRollback {
        function: &'static str,
        by: &'static str,
        cause: CauseKind,
        /// Whether it says that an error was meant to commit.
        meant_benign: bool,
    },
    BeforeCommit {
        function: &'static str,
        meant_benign: bool,
    },
    SecondWriter {
        function: &'static str,
        outer: &'static str,
    },
    LockAfterSnapshot {
        function: &'static str,
        outer: &'static str,
    },
    /// None that the model ever predicts.
    Other(String),
}

impl From<&Problem> for Failure {
    fn from(problem: &Problem) -> Self {
        match problem {
            Problem::Own(call) => Self::Own(*call),
            Problem::Benign(call) => Self::Benign(*call),
            Problem::Transaction(error) => Self::from(error),
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let is_benign = |meant: &str| meant.contains("Benign");
        match error {
            Error::OutsideScope => Self::OutsideScope,
            Error::NoTransaction { .. } => Self::NoTransaction,
            Error::TransactionActive { function, outer } => Self::TransactionActive {
                function: function.name(),
                outer: outer.name(),
            },
            Error::NoLockHeld { function } => Self::NoLockHeld {
                function: function.name(),
            },
            Error::Doomed {
                function,
                by,
                cause,
            } => Self::Doomed {
                function: function.name(),
                by: by.name(),
                cause: cause.kind(),
            },
            Error::RolledBack { function, reason } => {
                // What it was meant to return follows the reason.
                let mut words = reason.splitn(2, "; ");
                Self::RolledBack {
                    function: function.name(),
                    reason: words.next().unwrap_or_default().to_owned(),
                    meant_benign: words.next().is_some_and(is_benign),
                }
            }
            Error::UnexpectedRollback {
                function,
                by,
                cause,
                meant,
            } => Self::UnexpectedRollback {
                function: function.name(),
                by: by.name(),
                cause: cause.kind(),
                meant_benign: is_benign(meant),
            },
            Error::BeforeCommit {
                function, meant, ..
            } => Self::BeforeCommit {
                function: function.name(),
                meant_benign: is_benign(meant),
            },
            Error::SecondWriter { function, outer } => Self::SecondWriter {
                function: function.name(),
                outer: outer.name(),
            },
            Error::LockAfterSnapshot {
                function, outer, ..
            } => Self::LockAfterSnapshot {
                function: function.name(),
                outer: outer.name(),
            },
            Error::Database(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                Self::Duplicate
            }
            other => Self::Other(other.to_string()),
        }
    }
}

/// The committed rows of both databases when a program is over.
pub(crate) type Stored = [Vec<i64>; 2];

/// All that can be seen of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) events: Vec<Event>,
    pub(crate) stored: Stored,
}

/// What `set_rollback_only` gives as the reason.
pub(crate) fn reason(side: Side) -> String {
    format!("{side} is to roll back")
}
