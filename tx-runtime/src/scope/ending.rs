//! How a scope ends: what is wanted of its level, and what the server made of that.

use std::sync::Arc;

use crate::cause::{Cause, CauseKind, Doom};
use crate::dialect::{Dialect, Fault};
use crate::error::{Error, Outcome};
use crate::hook::Completion;
use crate::level::Level;
use crate::site::Site;
use crate::transaction::{Transaction, Verdict};

/// Whether a scope is worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is not: it has committed, or failed for reasons of its own, or owned nothing.
    Final,
    /// A conflict with others has rolled it back.
    Conflict,
    /// Nobody knows whether it has committed.
    Unknown,
}

/// What the owner of a scope wants of it at its end.
pub(crate) enum Intent {
    Keep(Meant),
    /// With the error in words, for those who ask later why the transaction is doomed.
    GiveUp(String),
}

/// How a scope says that it means to commit.
pub(crate) enum Meant {
    Ok,
    /// It is a [`Tx`](crate::Tx), which returns nothing.
    ByHand,
    Kept(String),
}

impl Meant {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Ok => "returned Ok".to_owned(),
            Self::ByHand => "called `commit`".to_owned(),
            Self::Kept(error) => {
                format!("returned an error that its rules commit for ({error})")
            }
        }
    }
}

/// What became of a transaction whose owner wanted to keep its work, or not.
pub(super) fn completion(root: &Arc<Level>, kept: bool, ended: &Result<(), Error>) -> Completion {
    match ended {
        Err(error) if error.outcome() == Outcome::Unknown => Completion::Unknown,
        Ok(()) if kept => Completion::Committed,
        _ if has_ended_early(root) => Completion::Unknown,
        _ => Completion::RolledBack,
    }
}

pub(super) fn ending(
    root: &Arc<Level>,
    completion: Completion,
    ended: &Result<(), Error>,
) -> Ending {
    let refused = match ended {
        Err(Error::Commit { retryable, .. }) => *retryable,
        _ => false,
    };
    let doomed = root.verdict().is_some_and(|doom| doom.cause.is_retryable());
    match completion {
        Completion::Unknown => Ending::Unknown,
        Completion::RolledBack if doomed || refused => Ending::Conflict,
        Completion::Committed | Completion::RolledBack => Ending::Final,
    }
}

pub(super) async fn commit<DB: Dialect>(
    transaction: &Transaction<DB>,
    meant: Meant,
) -> Result<(), Error> {
    if transaction.root().verdict().is_none() {
        match transaction.commit().await {
            Ok(verdict) => return judge::<DB>(verdict, transaction.root().site(), meant),
            Err(error) if transaction.root().verdict().is_none() => {
                transaction.roll_back().await;
                return Err(error);
            }
            // A statement that was still under way has failed and doomed the transaction.
            Err(_) => {}
        }
    }
    transaction.roll_back().await;
    Err(unexpected_rollback(transaction.root(), meant))
}

fn judge<DB: Dialect>(verdict: Verdict, function: Site, meant: Meant) -> Result<(), Error> {
    match verdict {
        Verdict::Committed => Ok(()),
        Verdict::RolledBack(source) => Err(Error::Commit {
            function,
            // A connection that was lost on the way says nothing against another one.
            retryable: DB::is_retryable(&source) || DB::fault(&source) == Fault::Connection,
            source,
            meant: meant.into_text(),
        }),
        Verdict::EndedEarly(source) => Err(Error::EndedEarly {
            function,
            cause: Cause::of_database(CauseKind::EndedEarly, &source, false),
            meant: meant.into_text(),
        }),
        Verdict::LockLost(lost) => Err(lost),
        Verdict::Unknown(source) => Err(Error::CommitUnknown {
            function,
            source,
            meant: meant.into_text(),
        }),
    }
}

pub(super) async fn release<DB: Dialect>(
    transaction: &Transaction<DB>,
    level: &Arc<Level>,
    meant: Meant,
) -> Result<(), Error> {
    level.check_open()?;
    level.doom_if_outlived();
    level.doom_if_late();
    if level.verdict().is_none() {
        match transaction.close_savepoint(level, true).await {
            Err(Error::Doomed { .. }) => {}
            Err(_) if has_ended_early(level) => {}
            ended => return ended,
        }
    }
    let _ = transaction.close_savepoint(level, false).await;
    Err(unexpected_rollback(level, meant))
}

fn has_ended_early(level: &Arc<Level>) -> bool {
    let verdict = level.verdict();
    verdict.is_some_and(|doom| doom.cause.kind() == CauseKind::EndedEarly)
}

/// The error of a scope that meant to keep its work and could not.
fn unexpected_rollback(level: &Arc<Level>, meant: Meant) -> Error {
    let function = level.site();
    let Some(doom) = level.verdict() else {
        return Error::TransactionClosed { function };
    };
    if doom.cause.kind() == CauseKind::RollbackOnly && doom.by == function {
        return Error::RolledBack {
            function,
            reason: match meant {
                Meant::Ok | Meant::ByHand => doom.cause.to_string(),
                kept @ Meant::Kept(_) => format!("{}; it {}", doom.cause, kept.into_text()),
            },
        };
    }
    if doom.cause.kind() == CauseKind::TimedOut {
        return match meant {
            Meant::Ok | Meant::ByHand => Error::timed_out(function, doom),
            kept @ Meant::Kept(_) => {
                let words = format!("{}; it {}", doom.cause, kept.into_text());
                let cause = Cause::of_function(CauseKind::TimedOut, words);
                Error::timed_out(function, &Doom::new(doom.by, cause))
            }
        };
    }
    let (cause, meant) = (doom.cause.clone(), meant.into_text());
    if cause.kind() == CauseKind::EndedEarly {
        return Error::EndedEarly {
            function,
            cause,
            meant,
        };
    }
    Error::UnexpectedRollback {
        function,
        by: doom.by,
        cause,
        meant,
    }
}
