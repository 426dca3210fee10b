//! Where a statement goes: into a transaction, to the pool, or nowhere.

use std::future::poll_fn;
use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::SqlStr;
use sqlx_core::describe::Describe;

use crate::autocommit::Autocommit;
use crate::cause::{Cause, CauseKind, Doom};
use crate::chain::{Frame, Physical as _};
use crate::dialect::{Dialect, Interference, Step};
use crate::error::Error;
use crate::operation::{Operation, Product, Task};
use crate::prepared::Prepared;
use crate::scope::{self, Position};
use crate::site::Site;
use crate::source::Source;
use crate::statement::{Answer, Want};
use crate::stream::{AutocommitStream, RefusedStream, RowsOnly, TransactionStream};
use crate::wire;

/// The way of one statement.
pub(crate) enum Target<DB: Dialect> {
    Transaction(Position<DB>),
    Autocommit(Autocommit<DB>),
    Refused(Error),
}

impl<DB: Dialect> Target<DB> {
    /// Where a statement goes whose code has `frame` as its innermost chain entry.
    #[inline]
    pub(crate) fn of(source: &Arc<Source<DB>>, frame: Option<&Frame>) -> Self {
        let found = frame.and_then(|frame| Some((frame, frame.find(source.id())?)));
        match found.filter(|(_, scope)| !scope.is_outside()) {
            Some((frame, scope)) => match Position::under(scope, frame) {
                Some(position) => Self::Transaction(position),
                None => Self::autocommit(source, Some(frame), scope.site),
            },
            None if source.settings().autocommit_outside_scopes => {
                Self::autocommit(source, frame, Site::OUTSIDE)
            }
            None => Self::Refused(Error::OutsideScope),
        }
    }

    #[cold]
    fn autocommit(source: &Arc<Source<DB>>, frame: Option<&Frame>, function: Site) -> Self {
        Self::Autocommit(Autocommit {
            source: Arc::clone(source),
            function,
            holding: scope::holding(source, frame),
            locks: frame.map_or_else(Vec::new, Frame::locks),
            deadline: frame.and_then(Frame::deadline),
        })
    }

    /// Runs a statement and takes from its answer what the caller wants.
    ///
    /// The box is needed for sqlx anyway. It is made for what the statement has before it: most
    /// find their transaction begun, and a small future is allocated and copied faster.
    pub(crate) fn run<T: Send + 'static>(
        self,
        query: Prepared<DB>,
        want: Want,
        pick: impl Pick<DB, T>,
    ) -> BoxFuture<'static, Result<T, sqlx::Error>> {
        if let Some(error) = self.refusal(query.text()) {
            return Box::pin(std::future::ready(Err(error.into_statement_error())));
        }
        match self {
            Self::Transaction(position) if position.transaction.has_begun() => {
                Box::pin(run_begun(position, query, want, pick))
            }
            Self::Transaction(position) => {
                let operation = Operation::Run(query, want);
                Box::pin(run_in_turn(position, operation, pick))
            }
            Self::Autocommit(autocommit) => {
                let operation = Operation::Run(query, want);
                Box::pin(async move { pick(autocommit.run(operation).await?) })
            }
            Self::Refused(error) => Box::pin(std::future::ready(Err(error.into_statement_error()))),
        }
    }

    pub(crate) fn stream(self, query: Prepared<DB>) -> BoxStream<'static, Step<DB>> {
        match self.admit(query.text()) {
            Self::Transaction(position) => Box::pin(TransactionStream::new(position, query)),
            Self::Autocommit(autocommit) => Box::pin(AutocommitStream::new(autocommit, query)),
            Self::Refused(error) => Box::pin(RefusedStream::<DB>::new(error)),
        }
    }

    pub(crate) fn rows(
        self,
        query: Prepared<DB>,
    ) -> BoxStream<'static, Result<DB::Row, sqlx::Error>> {
        match self.admit(query.text()) {
            Self::Transaction(position) => {
                Box::pin(RowsOnly(TransactionStream::new(position, query)))
            }
            Self::Autocommit(autocommit) => {
                Box::pin(RowsOnly(AutocommitStream::new(autocommit, query)))
            }
            Self::Refused(error) => Box::pin(RowsOnly(RefusedStream::<DB>::new(error))),
        }
    }

    pub(crate) async fn prepare(
        self,
        sql: SqlStr,
        parameters: Vec<DB::TypeInfo>,
    ) -> Result<DB::Statement, sqlx::Error> {
        let (text, product) = (sql.as_str().to_owned(), Product::new());
        let task = Task::Prepare(sql, parameters, product.another());
        self.carry_out(&text, task).await?;
        product.take()
    }

    pub(crate) async fn describe(self, sql: SqlStr) -> Result<Describe<DB>, sqlx::Error> {
        let (text, product) = (sql.as_str().to_owned(), Product::new());
        let task = Task::Describe(sql, product.another());
        self.carry_out(&text, task).await?;
        product.take()
    }

    async fn carry_out(self, sql: &str, task: Task<DB>) -> Result<(), sqlx::Error> {
        let operation = Operation::Task(task);
        match self.admit(sql) {
            Self::Transaction(position) => run_in_turn(position, operation, |_| Ok(())).await,
            Self::Autocommit(autocommit) => autocommit.run(operation).await.map(drop),
            Self::Refused(error) => Err(error.into_statement_error()),
        }
    }

    /// Where a statement goes that may be one to refuse.
    fn admit(self, sql: &str) -> Self {
        match self.refusal(sql) {
            Some(error) => Self::Refused(error),
            None => self,
        }
    }

    /// Refuses a statement that would begin or end a transaction behind the scope's back.
    ///
    /// In a transaction it counts as a failed statement, as the same words do where they
    /// reach a server that rejects them.
    fn refusal(&self, sql: &str) -> Option<Error> {
        let interference = DB::interference(sql)?;
        match self {
            Self::Transaction(position) => {
                let error = interference_error(interference, position.function, sql);
                let cause = Cause::of_function(CauseKind::Statement, error.to_string());
                position.level.doom(Doom::new(position.function, cause));
                Some(error)
            }
            Self::Autocommit(autocommit) if interference == Interference::Control => {
                Some(interference_error(interference, autocommit.function, sql))
            }
            _ => None,
        }
    }
}

/// What a caller wants of an answer.
pub(crate) trait Pick<DB: Dialect, T>:
    FnOnce(Answer<DB>) -> Result<T, sqlx::Error> + Send + 'static
{
}

impl<DB: Dialect, T, F> Pick<DB, T> for F where
    F: FnOnce(Answer<DB>) -> Result<T, sqlx::Error> + Send + 'static
{
}

#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` has room for its arguments twice"
)]
fn run_begun<DB: Dialect, T: Send>(
    position: Position<DB>,
    query: Prepared<DB>,
    want: Want,
    pick: impl Pick<DB, T>,
) -> impl Future<Output = Result<T, sqlx::Error>> + Send {
    async move {
        if let Some(mut wire) = position.ready_now() {
            let (level, function) = (Arc::clone(&position.level), position.function);
            wire.start_statement(level, function, query, want)?;
            return pick(poll_fn(|cx| wire.advance(cx)).await?);
        }
        let operation = Operation::Run(query, want);
        // Somebody else has its turn, or a savepoint or lock comes first.
        Box::pin(run_in_turn(position, operation, pick)).await
    }
}

async fn run_in_turn<DB: Dialect, T>(
    position: Position<DB>,
    operation: Operation<DB>,
    pick: impl Pick<DB, T>,
) -> Result<T, sqlx::Error> {
    let Position {
        transaction,
        level,
        function,
        locks,
    } = position;
    let mut wire = transaction.ready(&level, function, &locks).await?;
    wire.start(wire::Step::Statement { level, function }, operation)?;
    pick(wire.finish().await?)
}

fn interference_error(interference: Interference, function: Site, sql: &str) -> Error {
    let statement = sql.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
    match interference {
        Interference::Control => Error::TransactionControl {
            function,
            statement,
        },
        Interference::ImplicitCommit => Error::ImplicitCommit {
            function,
            statement,
        },
    }
}
