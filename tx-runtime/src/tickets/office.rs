//! The way to the database that keeps the tickets: a message at a time, on a connection that is
//! borrowed for no longer than that.

use std::sync::Arc;

use crate::chain;
use crate::cleanup::SeenThrough;
use crate::dialect::{Dialect, Fault, Framed, own_sql};
use crate::error::Error;
use crate::identity::DbId;
use crate::lease::Lease;
use crate::lock::LockFailure;
use crate::prepared::Prepared;
use crate::scope;
use crate::site::Site;
use crate::source::{Purpose, Source};
use crate::statement::{self, Want};

/// How often a message is sent again that has met with a conflict.
const CONFLICTS: u32 = 5;

/// Sends messages to the database of one `Db`.
pub(super) struct Office<DB: Dialect>(Arc<Source<DB>>);

/// What the database has answered: the cells of all rows, and how many rows were changed.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) rows: Vec<Vec<Option<String>>>,
    pub(super) changed: u64,
}

impl<DB: Dialect> Office<DB> {
    pub(super) fn of(source: &Arc<Source<DB>>) -> Self {
        Self(Arc::clone(source))
    }

    pub(super) fn database(&self) -> DbId {
        self.0.id()
    }

    /// Sends a message that changes something.
    ///
    /// Dropped once it is on its way, it goes on in the background, and `witness` lives as long
    /// as that. It may be sent more than once.
    pub(super) async fn tell(
        &self,
        function: Site,
        message: Framed,
        witness: impl Clone + Send + 'static,
    ) -> Result<Said, Error> {
        self.send(function, Purpose::Transaction, message, witness)
            .await
    }

    /// Sends a message that only reads.
    pub(super) async fn ask(&self, function: Site, message: Framed) -> Result<Said, Error> {
        self.send(function, Purpose::Read, message, ()).await
    }

    async fn send(
        &self,
        function: Site,
        purpose: Purpose,
        message: Framed,
        witness: impl Clone + Send + 'static,
    ) -> Result<Said, Error> {
        let source = &self.0;
        let holding = chain::current(|frame| scope::holding(source, frame));
        let holding = source.in_between(holding);
        let (mut attempts, mut conflicts) = (source.begin_attempts(), CONFLICTS);
        loop {
            let lease = source.lease(function, purpose, &holding).await?;
            let runtime = lease.runtime().clone();
            let sent = deliver(lease, message.clone(), witness.clone());
            let sent = SeenThrough::new(Arc::clone(source.cleanups()), runtime, sent);
            let error = match sent.await {
                Ok(said) => return Ok(said),
                Err(error) => error,
            };
            let left = if DB::is_retryable(&error) {
                conflicts -= 1;
                conflicts > 0
            } else {
                // Whoever had the connection before has left it dead or unclean.
                attempts -= 1;
                attempts > 0
                    && (DB::fault(&error) == Fault::Connection
                        || DB::found_open_transaction(&error))
            };
            if !left {
                return Err(Error::Database(error));
            }
        }
    }
}

async fn deliver<DB: Dialect>(
    mut lease: Lease<DB>,
    message: Framed,
    witness: impl Send,
) -> Result<Said, sqlx::Error> {
    lease.owe(message.undo);
    let query = Prepared::of(own_sql(message.sql));
    let answer = statement::run::<DB>(lease.use_connection(), query, Want::AllRows).await;
    if let Err(error) = &answer {
        lease.roll_back_after(error).await;
    } else {
        drop(lease.take_owed());
        lease.mark_clean();
    }
    drop(lease);
    let (rows, summary) = answer?.all_rows();
    let rows = rows.iter().map(DB::cells).collect::<Result<_, _>>()?;
    drop(witness);
    Ok(Said {
        rows,
        changed: DB::changed(&summary),
    })
}

impl<DB: Dialect> Clone for Office<DB> {
    fn clone(&self) -> Self {
        Self::of(&self.0)
    }
}

/// Why there is no lock, as providers say it.
pub(super) fn failure<DB: Dialect>(error: Error, function: Site, keys: &str) -> LockFailure {
    match error {
        Error::Database(error) if DB::lacks_tables(&error) => {
            LockFailure::failed(Error::NoTicketTable {
                function,
                key: keys.to_owned(),
                create: DB::TABLES,
            })
        }
        Error::Database(error) => LockFailure::failed(error),
        other => LockFailure::failed(other),
    }
}

/// A number in a cell.
pub(super) fn number(cell: Option<&Option<String>>) -> Option<i64> {
    cell?.as_deref()?.parse().ok()
}
