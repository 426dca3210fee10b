//! Running one statement on a connection, and what its failure means.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::{Database, Either};

use crate::cause::{Cause, CauseKind};
use crate::dialect::{Dialect, Fault, Step};
use crate::prepared::Prepared;

/// How much of a statement's result its caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Summary,
    FirstRow,
    AllRows,
}

/// What was wanted of a statement's result; the rest is read and let go.
pub(crate) enum Answer<DB: Database> {
    Summary(DB::QueryResult),
    FirstRow(Option<DB::Row>),
    AllRows(Vec<DB::Row>, DB::QueryResult),
}

impl<DB: Database> Default for Answer<DB> {
    fn default() -> Self {
        Self::Summary(DB::QueryResult::default())
    }
}

impl<DB: Database> Answer<DB> {
    #[inline]
    pub(crate) fn summary(self) -> DB::QueryResult {
        match self {
            Self::Summary(summary) | Self::AllRows(_, summary) => summary,
            Self::FirstRow(_) => DB::QueryResult::default(),
        }
    }

    #[inline]
    pub(crate) fn first_row(self) -> Option<DB::Row> {
        match self {
            Self::Summary(_) => None,
            Self::FirstRow(row) => row,
            Self::AllRows(rows, _) => rows.into_iter().next(),
        }
    }

    pub(crate) fn all_rows(self) -> (Vec<DB::Row>, DB::QueryResult) {
        match self {
            Self::Summary(summary) => (Vec::new(), summary),
            Self::FirstRow(row) => (Vec::from_iter(row), DB::QueryResult::default()),
            Self::AllRows(rows, summary) => (rows, summary),
        }
    }

    /// Keeps of what the database sends what is wanted.
    #[inline]
    fn take(&mut self, step: Either<DB::QueryResult, DB::Row>) {
        match (self, step) {
            (Self::Summary(sum) | Self::AllRows(_, sum), Either::Left(more)) => sum.extend([more]),
            (Self::AllRows(rows, _), Either::Right(row)) => rows.push(row),
            _ => {}
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
) -> Running<'_, DB> {
    match want {
        Want::FirstRow => Running::Once(DB::fetch_optional(connection, query)),
        Want::Summary => Running::Steps(DB::fetch_many(connection, query), Answer::default()),
        Want::AllRows => {
            let nothing = Answer::AllRows(Vec::new(), DB::QueryResult::default());
            Running::Steps(DB::fetch_many(connection, query), nothing)
        }
    }
}

/// A statement that is being run.
pub(crate) enum Running<'c, DB: Dialect> {
    Once(BoxFuture<'c, Result<Option<DB::Row>, sqlx::Error>>),
    Steps(BoxStream<'c, Step<DB>>, Answer<DB>),
}

/// Nothing in it is pinned in place.
impl<DB: Dialect> Unpin for Running<'_, DB> {}

impl<DB: Dialect> Future for Running<'_, DB> {
    type Output = Result<Answer<DB>, sqlx::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Once(row) => row.as_mut().poll(cx).map_ok(Answer::FirstRow),
            Self::Steps(steps, answer) => loop {
                match ready!(steps.as_mut().poll_next(cx)) {
                    Some(step) => answer.take(step?),
                    None => return Poll::Ready(Ok(std::mem::take(answer))),
                }
            },
        }
    }
}
