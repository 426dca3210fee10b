//! What is done on a connection, one thing at a time.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::SqlStr;
use sqlx_core::describe::Describe;

use crate::dialect::{Dialect, Fault};
use crate::lease::Lease;
use crate::prepared::Prepared;
use crate::rows::Rows;
use crate::statement::{self, Answer, Failure, Want};

/// One thing to do.
pub(crate) enum Operation<DB: Dialect> {
    Run(Prepared<DB>, Want),
    Stream(Prepared<DB>, Arc<Rows<DB>>),
    Task(Task<DB>),
}

/// An operation whose result is only whether it succeeded.
pub(crate) enum Task<DB: Dialect> {
    Begin(&'static str),
    Control(SqlStr),
    Commit,
    RollBack,
    Prepare(SqlStr, Vec<DB::TypeInfo>, Product<DB::Statement>),
    Describe(SqlStr, Product<Describe<DB>>),
}

impl<DB: Dialect> Operation<DB> {
    /// The statement's text; empty for what is not the caller's own.
    pub(crate) fn sql(&self) -> &str {
        match self {
            Self::Run(query, _) | Self::Stream(query, _) => query.text(),
            Self::Task(Task::Prepare(sql, ..) | Task::Describe(sql, _)) => sql.as_str(),
            Self::Task(_) => "",
        }
    }
}

/// Where an operation puts what is neither rows nor a summary.
pub(crate) struct Product<T>(Arc<Mutex<Option<T>>>);

impl<T> Product<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn another(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    /// What was put; an operation that succeeded has put something.
    pub(crate) fn take(&self) -> Result<T, sqlx::Error> {
        let value = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or(sqlx::Error::WorkerCrashed)
    }
}

/// How an operation ended.
pub(crate) struct Report<DB: Dialect> {
    pub(crate) result: Result<Answer<DB>, sqlx::Error>,
    /// What a failure means; a stream's error itself went to its consumer.
    pub(crate) failure: Option<Failure>,
}

impl<DB: Dialect> Report<DB> {
    pub(crate) fn is_connection_lost(&self) -> bool {
        matches!(&self.failure, Some(failure) if failure.fault == Fault::Connection)
    }
}

/// Does it.
pub(crate) async fn operate<DB: Dialect>(
    lease: &mut Lease<DB>,
    operation: Operation<DB>,
) -> Report<DB> {
    match operation {
        Operation::Run(query, want) => {
            let connection = lease.use_connection();
            let result = statement::run::<DB>(connection, query, want).await;
            let failure = match &result {
                Ok(_) => None,
                Err(error) => Some(Failure::confirmed::<DB>(error, connection).await),
            };
            Report { result, failure }
        }
        Operation::Stream(query, rows) => Report {
            failure: rows.read(lease.use_connection(), query).await,
            result: Ok(Answer::default()),
        },
        Operation::Task(task) => {
            let result = carry_out(lease, task).await.map(|()| Answer::default());
            let failure = result.as_ref().err().map(Failure::of::<DB>);
            Report { result, failure }
        }
    }
}

async fn carry_out<DB: Dialect>(lease: &mut Lease<DB>, task: Task<DB>) -> Result<(), sqlx::Error> {
    match task {
        Task::Control(sql) => DB::control(lease.use_connection(), sql).await,
        Task::Begin(sql) => {
            let begun = DB::begin(lease.use_connection(), sql).await;
            if let Err(error) = &begun {
                lease.roll_back_after(error).await;
            }
            begun
        }
        Task::Commit => {
            let answer = DB::commit(lease.use_connection()).await;
            match &answer {
                Ok(()) => lease.mark_clean(),
                Err(error) => lease.roll_back_after(error).await,
            }
            answer
        }
        Task::RollBack => lease.roll_back().await,
        Task::Prepare(sql, parameters, product) => {
            let statement = DB::prepare_with(lease.use_connection(), sql, &parameters).await?;
            product.put(statement);
            Ok(())
        }
        Task::Describe(sql, product) => {
            product.put(DB::describe(lease.use_connection(), sql).await?);
            Ok(())
        }
    }
}
