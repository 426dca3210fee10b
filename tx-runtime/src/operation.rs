//! What is done on a transaction's connection, one thing at a time.
//!
//! All operations are one future type, so that a transaction needs a single allocation for
//! however many of them it runs.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use sqlx::{SqlSafeStr, SqlStr};
use tokio_util::sync::ReusableBoxFuture;

use crate::dialect::Dialect;
use crate::lease::Lease;
use crate::prepared::Prepared;
use crate::rows::Rows;
use crate::statement::{self, Answer, Failure, Want, control};

/// One thing to do.
pub(crate) enum Operation<DB: Dialect> {
    Begin(&'static str),
    Run(Prepared<DB>, Want),
    Stream(Prepared<DB>, Arc<Rows<DB>>),
    Control(SqlStr),
    Commit,
    RollBack,
    /// For the rare calls that are no plain statement: they bring their own box.
    Other(Box<dyn FnOnce(Lease<DB>) -> Other<DB> + Send>),
}

type Other<DB> = BoxFuture<'static, (Lease<DB>, Result<(), sqlx::Error>)>;

/// An operation under way, in a box that the next one can be put into.
pub(crate) type Running<DB> = ReusableBoxFuture<'static, Completed<DB>>;

/// What an operation leaves behind.
pub(crate) struct Completed<DB: Dialect> {
    pub(crate) lease: Lease<DB>,
    pub(crate) result: Result<Answer<DB>, sqlx::Error>,
    pub(crate) failure: Option<Failure>,
}

impl<DB: Dialect> Completed<DB> {
    fn new(lease: Lease<DB>, result: Result<Answer<DB>, sqlx::Error>) -> Self {
        let failure = result.as_ref().err().map(Failure::of::<DB>);
        Self {
            lease,
            result,
            failure,
        }
    }

    fn done(lease: Lease<DB>, result: Result<(), sqlx::Error>) -> Self {
        Self::new(lease, result.map(|()| Answer::default()))
    }
}

/// Does it, and gives the connection back with the result.
pub(crate) async fn operate<DB: Dialect>(
    mut lease: Lease<DB>,
    operation: Operation<DB>,
) -> Completed<DB> {
    match operation {
        Operation::Run(query, want) => {
            let result = statement::run::<DB>(lease.use_connection(), query, want).await;
            Completed::new(lease, result)
        }
        Operation::Stream(query, rows) => {
            let failure = rows.read(lease.use_connection(), query).await;
            Completed {
                lease,
                result: Ok(Answer::default()),
                failure,
            }
        }
        Operation::Control(sql) => {
            let result = control::<DB>(lease.use_connection(), sql).await;
            Completed::done(lease, result)
        }
        Operation::Begin(sql) => {
            let result = control::<DB>(lease.use_connection(), sql.into_sql_str()).await;
            if let Err(error) = &result {
                lease.roll_back_after(error).await;
            }
            Completed::done(lease, result)
        }
        Operation::Commit => {
            let result = control::<DB>(lease.use_connection(), DB::COMMIT.into_sql_str()).await;
            match &result {
                Ok(()) => lease.mark_clean(),
                Err(error) => lease.roll_back_after(error).await,
            }
            Completed::done(lease, result)
        }
        Operation::RollBack => {
            let result = lease.roll_back().await;
            Completed::done(lease, result)
        }
        Operation::Other(work) => {
            let (lease, result) = work(lease).await;
            Completed::done(lease, result)
        }
    }
}
