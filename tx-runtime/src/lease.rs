//! A pooled connection in our hands, and what becomes of it when it is let go.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::SqlStr;
use sqlx::pool::PoolConnection;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::admission::Permit;
use crate::dialect::{Dialect, Fault, own_sql};

/// How long a connection is given to take a ROLLBACK, and what goes with it, before it is closed
/// instead.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(5);

/// A connection with the permits that stand behind it.
///
/// Dropped while its state is not known to be clean, it closes the connection: the server
/// then rolls back, and no later borrower can find a transaction in it.
pub(crate) struct Lease<DB: Dialect> {
    connection: Option<PoolConnection<DB>>,
    clean: bool,
    /// What opens the locks that were taken on the connection for a transaction.
    owed: Vec<String>,
    /// What is the last of a transaction before its COMMIT.
    finish: Option<&'static str>,
    /// What the fate of its transaction can be asked for by.
    receipt: Option<DB::Receipt>,
    /// Whether the work on it is bound to a limit.
    bound: bool,
    /// Where it goes when it is let go, instead of the pool.
    home: Option<Home<DB>>,
    /// Pool connections need a runtime to be dropped in, and a scope may be dropped
    /// outside of one.
    runtime: Handle,
    permit: Option<Permit>,
    writer: Option<OwnedSemaphorePermit>,
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
            owed: Vec::new(),
            finish: None,
            receipt: None,
            bound: false,
            home: None,
            runtime: Handle::current(),
            permit: Some(permit),
            writer,
        }
    }

    /// What a lock has lent, which knows no types of databases.
    pub(crate) fn from_lent(lent: Box<dyn Any + Send>) -> Option<Self> {
        lent.downcast().ok().map(|lease| *lease)
    }

    /// Has `sql` sent at the end of the transaction.
    pub(crate) fn owe(&mut self, sql: Option<String>) {
        self.owed.extend(sql);
    }

    /// Has `sql` sent before COMMIT.
    pub(crate) fn finish_with(&mut self, sql: Option<&'static str>) {
        self.finish = sql;
    }

    /// What opens the locks that were taken on the connection.
    pub(crate) fn take_owed(&mut self) -> String {
        std::mem::take(&mut self.owed).join("; ")
    }

    /// Whether something is to be sent at the end of the transaction.
    pub(crate) fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Begins a transaction with `sql`.
    pub(crate) async fn begin(&mut self, sql: SqlStr) -> Result<(), sqlx::Error> {
        self.receipt = DB::begin(self.use_connection(), sql).await?;
        Ok(())
    }

    /// What the fate of the transaction can be asked for by, once.
    pub(crate) fn take_receipt(&mut self) -> Option<DB::Receipt> {
        self.receipt.take()
    }

    /// Commits, if what is sent `before` that does not fail; leaves the lease clean if the
    /// server confirmed it.
    pub(crate) async fn commit(&mut self, before: String) -> Result<(), sqlx::Error> {
        let before = match self.finish.take() {
            Some(finish) if before.is_empty() => finish.to_owned(),
            Some(finish) => format!("{before}; {finish}"),
            None => before,
        };
        // In the same message: the server opens the locks when it has committed, and not if it
        // has not.
        let behind = self.owed.join("; ");
        DB::commit(self.use_connection(), before, behind).await?;
        self.owed.clear();
        // Committed is committed; a connection that stays bound is closed.
        if self.unbind().await.is_ok() {
            self.mark_clean();
        }
        Ok(())
    }

    /// Binds the work on the connection to a limit, until the end of the transaction.
    pub(crate) async fn bind(
        &mut self,
        limit: Option<Duration>,
    ) -> Result<DB::Backend, sqlx::Error> {
        self.bound = true;
        if limit.is_some() {
            self.owe(DB::UNBIND.map(str::to_owned));
        }
        DB::bind(self.use_connection(), limit).await
    }

    async fn unbind(&mut self) -> Result<(), sqlx::Error> {
        if self.bound {
            DB::unbind(self.use_connection()).await?;
            self.bound = false;
        }
        Ok(())
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
        let ended = tokio::time::timeout(ROLLBACK_LIMIT, self.end()).await;
        ended.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
    }

    async fn end(&mut self) -> Result<(), sqlx::Error> {
        match DB::roll_back(self.use_connection()).await {
            Err(error) if !DB::nothing_to_roll_back(&error) => return Err(error),
            _ => {}
        }
        self.finish = None;
        if !self.owed.is_empty() {
            let sql = own_sql(self.owed.join("; "));
            DB::control(self.use_connection(), sql).await?;
            self.owed.clear();
        }
        self.unbind().await?;
        self.mark_clean();
        Ok(())
    }

    /// After a failed control message: rolls back unless the connection itself failed.
    pub(crate) async fn roll_back_after(&mut self, error: &sqlx::Error) {
        if DB::fault(error) != Fault::Connection
            && let Err(error) = self.roll_back().await
        {
            tracing::warn!(%error, "what BEGIN or COMMIT had left could not be rolled back; the connection is closed");
        }
    }

    /// Closes the connection, which is of no use any more.
    pub(crate) fn close(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.close_on_drop();
            let _runtime = self.runtime.enter();
            drop(connection);
        }
    }

    /// Gives a clean connection back and waits until the pool has it.
    pub(crate) async fn hand_back(mut self) {
        if self.clean
            && self.home.is_none()
            && let Some(mut connection) = self.connection.take()
        {
            connection.return_to_pool().await;
        }
    }

    /// Whether it goes back to the lock that has lent it.
    pub(crate) fn is_lent(&self) -> bool {
        self.home.is_some()
    }

    /// This lease, taken out of itself, on its way home.
    fn going_home(&mut self) -> Self {
        Self {
            connection: self.connection.take(),
            clean: self.clean,
            owed: std::mem::take(&mut self.owed),
            finish: self.finish.take(),
            receipt: None,
            bound: self.bound,
            home: None,
            runtime: self.runtime.clone(),
            permit: self.permit.take(),
            writer: self.writer.take(),
        }
    }
}

impl<DB: Dialect> Drop for Lease<DB> {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.take_back(self.going_home());
            return;
        }
        if !self.clean {
            self.close();
        }
        let _runtime = self.runtime.enter();
        drop(self.connection.take());
    }
}

/// A connection that keeps locks of its session, and is lent to what runs under them.
pub(crate) struct Home<DB: Dialect>(Arc<House<DB>>);

struct House<DB: Dialect> {
    resident: Mutex<Resident<DB>>,
    returned: Notify,
}

enum Resident<DB: Dialect> {
    Here(Lease<DB>),
    Lent,
    /// The connection, and with it the locks, are gone.
    Gone,
}

impl<DB: Dialect> Home<DB> {
    pub(crate) fn of(mut lease: Lease<DB>) -> Self {
        // Let go of here, it would take its locks into the pool.
        lease.clean = false;
        Self(Arc::new(House {
            resident: Mutex::new(Resident::Here(lease)),
            returned: Notify::new(),
        }))
    }

    /// The connection, if nobody has it; dropped, it comes back.
    pub(crate) fn lend(&self) -> Option<Lease<DB>> {
        let mut resident = self.resident();
        match std::mem::replace(&mut *resident, Resident::Lent) {
            Resident::Here(mut lease) => {
                lease.clean = true;
                lease.home = Some(Self(Arc::clone(&self.0)));
                Some(lease)
            }
            other => {
                *resident = other;
                None
            }
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(*self.resident(), Resident::Here(_))
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(*self.resident(), Resident::Gone)
    }

    /// The connection for good.
    pub(crate) fn leave(&self) -> Option<Lease<DB>> {
        match std::mem::replace(&mut *self.resident(), Resident::Gone) {
            Resident::Here(lease) => Some(lease),
            // It keeps its locks, so it must not come into other hands; see `take_back`.
            Resident::Lent | Resident::Gone => None,
        }
    }

    fn take_back(&self, mut lease: Lease<DB>) {
        let mut resident = self.resident();
        let may_stay = std::mem::take(&mut lease.clean) && matches!(*resident, Resident::Lent);
        *resident = if may_stay {
            Resident::Here(lease)
        } else {
            Resident::Gone
        };
        drop(resident);
        self.0.returned.notify_waiters();
    }

    /// Resolves when the connection that is lent now has come back.
    pub(crate) async fn returned(&self) {
        loop {
            let returned = self.0.returned.notified();
            if !matches!(*self.resident(), Resident::Lent) {
                return;
            }
            returned.await;
        }
    }

    fn resident(&self) -> MutexGuard<'_, Resident<DB>> {
        self.0
            .resident
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<DB: Dialect> fmt::Debug for Home<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").finish_non_exhaustive()
    }
}

impl<DB: Dialect> fmt::Debug for Lease<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("clean", &self.clean)
            .finish_non_exhaustive()
    }
}
