//! Where a statement goes: into a transaction, to the pool, or nowhere.

use std::future::Future;
use std::sync::Arc;

use futures_core::stream::BoxStream;
use sqlx::SqlStr;
use sqlx_core::describe::Describe;

use crate::autocommit::Autocommit;
use crate::cause::{Cause, CauseKind, Doom};
use crate::chain::Frame;
use crate::dialect::{Dialect, Interference, Step};
use crate::error::Error;
use crate::lease::Lease;
use crate::prepared::Prepared;
use crate::scope::{Position, nearest_transaction};
use crate::site::Site;
use crate::source::{Holding, Source};
use crate::statement::{self, Answer, Want};
use crate::stream::{AutocommitStream, RefusedStream, RowsOnly, TransactionStream};

/// The way of one statement.
pub(crate) enum Target<DB: Dialect> {
    Transaction(Position<DB>),
    Autocommit(Autocommit<DB>),
    Refused(Error),
}

impl<DB: Dialect> Target<DB> {
    /// Where a statement goes whose code has `frame` as its innermost chain entry.
    pub(crate) fn of(source: &Arc<Source<DB>>, frame: Option<&Frame>) -> Self {
        match frame.and_then(|frame| frame.find(source.id())) {
            Some(found) => Position::of(&found).map_or_else(
                || Self::autocommit(source, frame, found.scope.site),
                Self::Transaction,
            ),
            None if source.settings().autocommit_outside_scopes => {
                Self::autocommit(source, frame, Site::OUTSIDE)
            }
            None => Self::Refused(Error::OutsideScope),
        }
    }

    fn autocommit(source: &Arc<Source<DB>>, frame: Option<&Frame>, function: Site) -> Self {
        let holding = nearest_transaction(source, frame)
            .map_or_else(Holding::default, |transaction| transaction.holding());
        Self::Autocommit(Autocommit {
            source: Arc::clone(source),
            function,
            holding,
            locks: frame.map_or_else(Vec::new, Frame::locks),
        })
    }

    pub(crate) async fn run(
        self,
        query: Prepared<DB>,
        want: Want,
    ) -> Result<Answer<DB>, sqlx::Error> {
        match self.admit(query.text()) {
            Self::Transaction(position) => {
                let Position {
                    transaction,
                    level,
                    function,
                } = position;
                transaction.run(&level, function, query, want).await
            }
            Self::Autocommit(autocommit) => {
                let sql = query.text().to_owned();
                let run = autocommit.run(&sql, move |mut lease| async move {
                    let result = statement::run::<DB>(lease.use_connection(), query, want).await;
                    (lease, result)
                });
                // Boxed, so that statements of a transaction do not carry it.
                Box::pin(run).await
            }
            Self::Refused(error) => Err(error.into_statement_error()),
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
        let text = sql.as_str().to_owned();
        self.with_connection(&text, move |mut lease| async move {
            let result = DB::prepare_with(lease.use_connection(), sql, &parameters).await;
            (lease, result)
        })
        .await
    }

    pub(crate) async fn describe(self, sql: SqlStr) -> Result<Describe<DB>, sqlx::Error> {
        let text = sql.as_str().to_owned();
        self.with_connection(&text, move |mut lease| async move {
            let result = DB::describe(lease.use_connection(), sql).await;
            (lease, result)
        })
        .await
    }

    async fn with_connection<T, W, F>(self, sql: &str, work: W) -> Result<T, sqlx::Error>
    where
        T: Send + 'static,
        W: FnOnce(Lease<DB>) -> F + Send + 'static,
        F: Future<Output = (Lease<DB>, Result<T, sqlx::Error>)> + Send + 'static,
    {
        match self.admit(sql) {
            Self::Transaction(position) => {
                position
                    .transaction
                    .with_connection(&position.level, position.function, work)
                    .await
            }
            Self::Autocommit(autocommit) => autocommit.run(sql, work).await,
            Self::Refused(error) => Err(error.into_statement_error()),
        }
    }

    /// Refuses a statement that would begin or end a transaction behind the scope's back.
    ///
    /// In a transaction it counts as a failed statement, as the same words do where they
    /// reach a server that rejects them.
    fn admit(self, sql: &str) -> Self {
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
