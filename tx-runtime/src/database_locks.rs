//! Locks that the database server keeps.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use sqlx::SqlSafeStr;

use crate::chain;
use crate::cleanup::{Cleanups, SeenThrough};
use crate::dialect::{Dialect, Fault, LockTime, own_sql};
use crate::error::Error;
use crate::identity::DbId;
use crate::lease::{Home, Lease};
use crate::lock::{
    DOUBT_LIMIT, LockFailure, LockFuture, LockHold, LockProvider, LockQueue, LockRequest,
};
use crate::operation::{Product, ServerLocks};
use crate::scope;
use crate::source::{Purpose, Source};

/// Locks of the server itself: among all who use the same database, without a table.
///
/// This is what a `Db` on a server uses unless it was built with another provider.
///
/// | | PostgreSQL | MySQL, MariaDB | SQLite |
/// |---|---|---|---|
/// | a scope that begins under the lock | `pg_advisory_xact_lock` in the message of BEGIN; above READ COMMITTED a lock of the session in a message before it, since the first query fixes the snapshot | `GET_LOCK` in the message of BEGIN | in this process; every transaction is the only writer |
/// | a lock that is to move into a begun transaction | the same, in a savepoint of its own | `GET_LOCK` on its connection | in this process |
/// | a lock without a transaction | a lock of the session, on a connection that the next transaction under it uses | likewise | in this process |
///
/// Within the process the turns come first, so at most one call for each key waits on the
/// server, with one connection. Names are exact here; servers get a SHA-256 of the name, cut
/// to 64 bits on PostgreSQL: two keys that collide there wait for each other, and exclude no
/// less.
pub struct DatabaseLocks<DB: Dialect> {
    source: Arc<Source<DB>>,
}

impl<DB: Dialect> DatabaseLocks<DB> {
    pub(crate) fn of(source: &Arc<Source<DB>>) -> Self {
        Self {
            source: Arc::clone(source),
        }
    }

    async fn lock_session(
        &self,
        request: LockRequest<'_>,
    ) -> Result<Option<Box<dyn LockHold>>, LockFailure> {
        let mut attempts = self.source.begin_attempts();
        loop {
            let mut lease = self.lease(&request).await.map_err(LockFailure::failed)?;
            let locks = ServerLocks {
                keys: request.keys.to_vec(),
                wait: request.wait,
                holder: Product::new(),
            };
            attempts -= 1;
            match locks.take(&mut lease, LockTime::Session, None).await {
                Ok(()) => return Ok(Some(Box::new(SessionLocks::new(&self.source, lease)))),
                Err(error) if DB::lock_was_busy(&error) => {
                    lease.mark_clean();
                    let holder = locks.holder.found();
                    return Err(LockFailure::Busy { holder });
                }
                // Whoever had the connection before has left it dead or unclean.
                Err(error)
                    if attempts > 0
                        && (DB::fault(&error) == Fault::Connection
                            || DB::found_open_transaction(&error)) => {}
                Err(error) => return Err(LockFailure::failed(error)),
            }
        }
    }

    async fn lease(&self, request: &LockRequest<'_>) -> Result<Lease<DB>, Error> {
        let mut holding = chain::current(|frame| scope::holding(&self.source, frame));
        // It has won the keys inside the process already, and others wait for them.
        holding.under_lock = true;
        self.source
            .lease(request.function, Purpose::Transaction, &holding)
            .await
    }
}

impl<DB: Dialect> LockProvider for DatabaseLocks<DB> {
    fn queue(&self) -> &LockQueue {
        self.source.locks()
    }

    fn acquire<'a>(
        &'a self,
        request: LockRequest<'a>,
    ) -> LockFuture<'a, Result<Option<Box<dyn LockHold>>, LockFailure>> {
        if DB::LOCKS {
            Box::pin(self.lock_session(request))
        } else {
            Box::pin(std::future::ready(Ok(None)))
        }
    }

    fn database(&self) -> Option<DbId> {
        DB::LOCKS.then(|| self.source.id())
    }
}

impl<DB: Dialect> Clone for DatabaseLocks<DB> {
    fn clone(&self) -> Self {
        Self::of(&self.source)
    }
}

impl<DB: Dialect> fmt::Debug for DatabaseLocks<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseLocks")
            .field("database", &DB::NAME)
            .finish_non_exhaustive()
    }
}

/// Locks of a server's session, on a connection of their own.
struct SessionLocks<DB: Dialect> {
    db: DbId,
    cleanups: Arc<Cleanups>,
    home: Home<DB>,
    /// What opens them.
    open: String,
}

impl<DB: Dialect> SessionLocks<DB> {
    fn new(source: &Source<DB>, mut lease: Lease<DB>) -> Self {
        Self {
            db: source.id(),
            cleanups: Arc::clone(source.cleanups()),
            open: lease.take_owed(),
            home: Home::of(lease),
        }
    }

    async fn is_alive(&self) -> bool {
        let Some(mut lease) = self.home.lend() else {
            // Whoever has the connection finds out.
            return !self.home.is_gone();
        };
        // Cut off half-way it would cost the connection, and the chain its lock.
        let runtime = lease.runtime().clone();
        SeenThrough::new(Arc::clone(&self.cleanups), runtime, async move {
            let answer = DB::control(lease.use_connection(), "SELECT 1".into_sql_str()).await;
            if answer.is_ok() {
                lease.mark_clean();
            }
            answer.is_ok()
        })
        .await
    }

    async fn unlock(self) -> Result<(), LockFailure> {
        // A look at the connection may still be under way.
        drop(tokio::time::timeout(DOUBT_LIMIT, self.home.returned()).await);
        let mut lease = self.home.leave().ok_or(LockFailure::Lost)?;
        let sql = own_sql(self.open);
        let answer = DB::control(lease.use_connection(), sql).await;
        // Otherwise the connection is closed, which opens them too.
        answer.map_err(|_| LockFailure::Lost)?;
        lease.mark_clean();
        lease.hand_back().await;
        Ok(())
    }
}

impl<DB: Dialect> LockHold for SessionLocks<DB> {
    fn check(&self) -> LockFuture<'_, Result<(), LockFailure>> {
        Box::pin(async {
            if self.is_alive().await {
                Ok(())
            } else {
                Err(LockFailure::Lost)
            }
        })
    }

    fn open(self: Box<Self>) -> LockFuture<'static, Result<(), LockFailure>> {
        Box::pin(self.unlock())
    }

    fn leave(self: Box<Self>) -> LockFuture<'static, ()> {
        Box::pin(async move {
            // The transaction ran on this very connection, and has ended with it.
            if !self.home.is_gone() {
                tokio::time::sleep(DOUBT_LIMIT).await;
                // Lost or opened, it is free.
                let _ = self.unlock().await;
            }
        })
    }

    fn keeps_connection(&self, db: DbId) -> bool {
        self.db == db && self.home.is_idle()
    }

    fn returned(&self, db: DbId) -> Option<LockFuture<'_, ()>> {
        let ours = self.db == db && !self.home.is_gone();
        ours.then(|| Box::pin(self.home.returned()) as LockFuture<'_, ()>)
    }

    fn lend(&self, db: DbId) -> Option<Box<dyn Any + Send>> {
        if self.db != db {
            return None;
        }
        self.home
            .lend()
            .map(|lease| Box::new(lease) as Box<dyn Any + Send>)
    }
}

impl<DB: Dialect> fmt::Debug for SessionLocks<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLocks")
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}
