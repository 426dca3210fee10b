//! Running one statement on a connection, and what its failure means.

use std::future::poll_fn;

use sqlx::{Database, Either};

use crate::cause::{Cause, CauseKind};
use crate::dialect::{Dialect, Fault};
use crate::prepared::Prepared;

/// How much of a statement's result its caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Summary,
    FirstRow,
    AllRows,
}

/// What was wanted of a statement's result; the rest was read and let go.
pub(crate) struct Answer<DB: Database> {
    pub(crate) summary: DB::QueryResult,
    pub(crate) first: Option<DB::Row>,
    pub(crate) rows: Vec<DB::Row>,
}

impl<DB: Database> Default for Answer<DB> {
    fn default() -> Self {
        Self {
            summary: DB::QueryResult::default(),
            first: None,
            rows: Vec::new(),
        }
    }
}

/// What a statement's error means, kept after the error went to the caller.
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    pub(crate) cause: Cause,
}

impl Failure {
    pub(crate) fn of<DB: Dialect>(error: &sqlx::Error) -> Self {
        let fault = DB::fault(error);
        let kind = match fault {
            Fault::Local | Fault::Statement => CauseKind::Statement,
            Fault::Transaction | Fault::Connection => CauseKind::TransactionGone,
        };
        Self {
            fault,
            cause: Cause::of_database(kind, error, DB::is_retryable(error)),
        }
    }

    /// As [`of`](Self::of), with the database asked whether the failed statement has cost more
    /// than itself.
    pub(crate) async fn confirmed<DB: Dialect>(
        error: &sqlx::Error,
        connection: &mut DB::Connection,
    ) -> Self {
        let mut failure = Self::of::<DB>(error);
        if failure.fault == Fault::Statement && !DB::has_survived(connection).await {
            failure.fault = Fault::Transaction;
        }
        failure
    }
}

/// Runs one statement on a connection to its end.
///
/// The driver gets the query here and now, so that the future has no room for it.
pub(crate) fn run<DB: Dialect>(
    connection: &mut DB::Connection,
    query: Prepared<DB>,
    want: Want,
) -> impl Future<Output = Result<Answer<DB>, sqlx::Error>> + Send {
    let called = match want {
        Want::FirstRow => Either::Left(DB::fetch_optional(connection, query)),
        Want::Summary | Want::AllRows => Either::Right(DB::fetch_many(connection, query)),
    };
    async move {
        let mut answer = Answer::<DB>::default();
        match called {
            Either::Left(first) => answer.first = first.await?,
            Either::Right(mut steps) => {
                while let Some(step) = poll_fn(|cx| steps.as_mut().poll_next(cx)).await {
                    match step? {
                        Either::Left(summary) => answer.summary.extend([summary]),
                        Either::Right(row) if want == Want::AllRows => answer.rows.push(row),
                        Either::Right(_) => {}
                    }
                }
            }
        }
        Ok(answer)
    }
}
