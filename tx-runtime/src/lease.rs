//! A pooled connection in our hands, and what becomes of it when it is let go.

use std::fmt;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use crate::admission::Permit;
use crate::dialect::{Dialect, Fault};

/// How long a connection is given to take a ROLLBACK before it is closed instead.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(5);

/// A connection with the permits that stand behind it.
///
/// Dropped while its state is not known to be clean, it closes the connection: the server
/// then rolls back, and no later borrower can find a transaction in it.
pub(crate) struct Lease<DB: Dialect> {
    connection: Option<PoolConnection<DB>>,
    clean: bool,
    /// Pool connections need a runtime to be dropped in, and a scope may be dropped
    /// outside of one.
    runtime: Handle,
    _permit: Permit,
    _writer: Option<OwnedSemaphorePermit>,
}

impl<DB: Dialect> Lease<DB> {
    pub(crate) fn new(
        connection: PoolConnection<DB>,
        permit: Permit,
        writer: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            connection: Some(connection),
            clean: true,
            runtime: Handle::current(),
            _permit: permit,
            _writer: writer,
        }
    }

    /// The connection, from now on taken to be in an unknown state.
    pub(crate) fn use_connection(&mut self) -> &mut DB::Connection {
        self.clean = false;
        self.connection
            .as_mut()
            .expect("a lease has its connection until it is dropped")
    }

    pub(crate) fn mark_clean(&mut self) {
        self.clean = true;
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Ends whatever transaction the connection may be in; leaves the lease clean if the
    /// server confirmed it.
    pub(crate) async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
        let rollback = DB::roll_back(self.use_connection());
        let Ok(answer) = tokio::time::timeout(ROLLBACK_LIMIT, rollback).await else {
            return Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
        };
        match answer {
            Err(error) if !DB::nothing_to_roll_back(&error) => Err(error),
            _ => {
                self.mark_clean();
                Ok(())
            }
        }
    }

    /// After a failed control message: rolls back unless the connection itself failed.
    pub(crate) async fn roll_back_after(&mut self, error: &sqlx::Error) {
        if DB::fault(error) != Fault::Connection
            && let Err(error) = self.roll_back().await
        {
            tracing::warn!(%error, "ROLLBACK failed; the connection is closed");
        }
    }

    /// Gives a clean connection back and waits until the pool has it.
    pub(crate) async fn hand_back(mut self) {
        if self.clean
            && let Some(mut connection) = self.connection.take()
        {
            connection.return_to_pool().await;
        }
    }
}

impl<DB: Dialect> Drop for Lease<DB> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if !self.clean {
            connection.close_on_drop();
        }
        let _runtime = self.runtime.enter();
        drop(connection);
    }
}

impl<DB: Dialect> fmt::Debug for Lease<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("clean", &self.clean)
            .finish_non_exhaustive()
    }
}
