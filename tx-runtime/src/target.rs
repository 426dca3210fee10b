//! Where a statement goes: into a transaction, to the pool, or nowhere.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::SqlStr;
use sqlx_core::describe::Describe;

use crate::autocommit::Autocommit;
use crate::cause::{Cause, CauseKind, Doom};
use crate::chain::Frame;
use crate::dialect::{Dialect, Interference, Step};
use crate::error::Error;
use crate::operation::{Operation, Product, Task};
use crate::prepared::Prepared;
use crate::scope::{self, Position};
use crate::site::Site;
use crate::source::Source;
use crate::statement::{Answer, Want};
use crate::stream::{AutocommitStream, RefusedStream, RowsOnly, TransactionStream};
use crate::transaction;

/// The way of one statement.
pub(crate) enum Target<DB: Dialect> {
    Transaction(Position<DB>),
    Autocommit(Autocommit<DB>),
    Refused(Error),
}

impl<DB: Dialect> Target<DB> {
    /// Where a statement goes whose code has `frame` as its innermost chain entry.
    pub(crate) fn of(source: &Arc<Source<DB>>, frame: Option<&Frame>) -> Self {
        let found = frame.and_then(|frame| frame.find(source.id()));
        match found.filter(|found| !found.scope.is_outside()) {
            Some(found) => match Position::of(found.scope) {
                Some(position) => {
                    let locks = frame.map_or_else(Vec::new, Frame::asked_for);
                    Self::Transaction(position.under(locks))
                }
                None => Self::autocommit(source, frame, found.scope.site),
            },
            None if source.settings().autocommit_outside_scopes => {
                Self::autocommit(source, frame, Site::OUTSIDE)
            }
            None => Self::Refused(Error::OutsideScope),
        }
    }

    fn autocommit(source: &Arc<Source<DB>>, frame: Option<&Frame>, function: Site) -> Self {
        Self::Autocommit(Autocommit {
            source: Arc::clone(source),
            function,
            holding: scope::holding(source, frame),
            locks: frame.map_or_else(Vec::new, Frame::locks),
        })
    }

    /// Runs a statement and takes from its answer what the caller wants.
    ///
    /// The box is needed for sqlx anyway. It is made for what the statement has before it:
    /// most find their transaction ready, and a small future is allocated and copied faster.
    pub(crate) fn run<T: Send + 'static>(
        self,
        query: Prepared<DB>,
        want: Want,
        pick: Pick<DB, T>,
    ) -> BoxFuture<'static, Result<T, sqlx::Error>> {
        let operation = Operation::Run(query, want);
        match self {
            Self::Transaction(position) if position.ready_now().is_some() => {
                Box::pin(run_ready(position, operation, pick))
            }
            Self::Transaction(position) => Box::pin(run_in_turn(position, operation, pick)),
            Self::Autocommit(autocommit) => {
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

    /// Refuses a statement that would begin or end a transaction behind the scope's back.
    ///
    /// In a transaction it counts as a failed statement, as the same words do where they
    /// reach a server that rejects them.
    pub(crate) fn admit(self, sql: &str) -> Self {
        let Some(interference) = DB::interference(sql) else {
            return self;
        };
        match &self {
            Self::Transaction(position) => {
                let error = interference_error(interference, position.function, sql);
                let cause = Cause::of_function(CauseKind::Statement, error.to_string());
                position.level.doom(Doom::new(position.function, cause));
                Self::Refused(error)
            }
            Self::Autocommit(autocommit) if interference == Interference::Control => {
                Self::Refused(interference_error(interference, autocommit.function, sql))
            }
            _ => self,
        }
    }
}

/// What a caller wants of an answer.
type Pick<DB, T> = fn(Answer<DB>) -> Result<T, sqlx::Error>;

async fn run_ready<DB: Dialect, T>(
    position: Position<DB>,
    operation: Operation<DB>,
    pick: Pick<DB, T>,
) -> Result<T, sqlx::Error> {
    let (level, function) = (Arc::clone(&position.level), position.function);
    if let Some(wire) = position.ready_now() {
        return pick(transaction::run(wire, level, function, operation).await?);
    }
    // Somebody was faster.
    Box::pin(run_in_turn(position, operation, pick)).await
}

async fn run_in_turn<DB: Dialect, T>(
    position: Position<DB>,
    operation: Operation<DB>,
    pick: Pick<DB, T>,
) -> Result<T, sqlx::Error> {
    let Position {
        transaction,
        level,
        function,
        locks,
    } = position;
    let wire = transaction.ready(&level, function, &locks).await?;
    pick(transaction::run(wire, level, function, operation).await?)
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
