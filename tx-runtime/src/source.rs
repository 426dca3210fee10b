//! Where connections come from: the pool behind its admission order.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{Connection, Pool};
use tokio::sync::OwnedSemaphorePermit;

use crate::admission::{Holder, Parked};
use crate::cleanup::Cleanups;
use crate::connecting;
use crate::dialect::{Concurrency, Dialect, Obstacle};
use crate::error::Error;
use crate::gate::Gate;
use crate::identity::DbId;
use crate::lease::Lease;
use crate::listener::Watch;
use crate::lock::{LockProvider, LockQueue};
use crate::options::Isolation;
use crate::session::Session;
use crate::site::Site;
use crate::verdict::Witness;

/// What a `Db` was built with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) autocommit_outside_scopes: bool,
    pub(crate) tolerate_failed_statements: bool,
    pub(crate) fail_early: bool,
    pub(crate) nesting_depth: usize,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) watch: Arc<Watch>,
    /// Who keeps locks, if not the database itself.
    pub(crate) locks: Option<Arc<dyn LockProvider>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            autocommit_outside_scopes: false,
            tolerate_failed_statements: false,
            fail_early: false,
            nesting_depth: 2,
            isolation: None,
            timeout: None,
            watch: Arc::default(),
            locks: None,
        }
    }
}

/// What all clones of one `Db` share.
pub(crate) struct Source<DB: Dialect> {
    id: DbId,
    /// Dropped before the pool, whose address it is known by.
    gate: Arc<Gate>,
    pool: Pool<DB>,
    settings: Settings,
    cleanups: Arc<Cleanups>,
    concurrency: Concurrency,
    /// The sessions of transactions that have ended, for the memory in them.
    spent: Mutex<Vec<Session<DB>>>,
    replica: Option<Arc<Self>>,
}

/// The connections that a call chain already holds.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    /// How many transactions around the request hold a connection or wait for one.
    pub(crate) level: usize,
    /// Those that hold one.
    pub(crate) holders: Vec<Holder>,
    /// The innermost of them all.
    pub(crate) innermost: Option<Site>,
    /// Whether the chain holds a named lock, which others may wait for.
    pub(crate) under_lock: bool,
}

/// What a connection is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Transaction,
    Write,
    Read,
}

/// The queues before a connection, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    /// For the turn of the one writer.
    Writers,
    /// For a place in the order of admission.
    Admission,
    /// Of sqlx's pool.
    Pool,
}

impl<DB: Dialect> Source<DB> {
    pub(crate) fn new(pool: Pool<DB>, replica: Option<Pool<DB>>, settings: Settings) -> Arc<Self> {
        let cleanups = Arc::default();
        let replica =
            replica.map(|pool| Self::over(pool, None, settings.clone(), Arc::clone(&cleanups)));
        Self::over(pool, replica, settings, cleanups)
    }

    fn over(
        pool: Pool<DB>,
        replica: Option<Arc<Self>>,
        settings: Settings,
        cleanups: Arc<Cleanups>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: DbId::next(),
            concurrency: DB::concurrency(&pool.connect_options()),
            gate: Gate::of(&pool, settings.nesting_depth),
            pool,
            settings,
            cleanups,
            spent: Mutex::default(),
            replica,
        })
    }

    pub(crate) fn id(&self) -> DbId {
        self.id
    }

    pub(crate) fn pool(&self) -> &Pool<DB> {
        &self.pool
    }

    /// Where transactions that only read may get their connections.
    pub(crate) fn replica(&self) -> Option<&Arc<Self>> {
        self.replica.as_ref()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn cleanups(&self) -> &Arc<Cleanups> {
        &self.cleanups
    }

    pub(crate) fn locks(&self) -> &LockQueue {
        &self.gate.locks
    }

    pub(crate) fn locks_first(&self) -> bool {
        self.gate.locks_first()
    }

    pub(crate) fn learn_to_lock_first(&self) {
        self.gate.learn_to_lock_first();
    }

    /// Whether both get their connections from one pool.
    pub(crate) fn shares_pool(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.gate, &other.gate)
    }

    pub(crate) fn tolerates_failed_statements(&self) -> bool {
        self.settings.tolerate_failed_statements && DB::SURVIVES_FAILED_STATEMENTS
    }

    pub(crate) fn take_spent(&self) -> Option<Session<DB>> {
        self.spent().pop()
    }

    pub(crate) fn keep_spent(&self, session: Option<Session<DB>>) {
        let mut spent = self.spent();
        // More transactions than connections are never under way at once.
        if spent.len() < self.gate.admission.size() {
            spent.extend(session);
        }
    }

    fn spent(&self) -> MutexGuard<'_, Vec<Session<DB>>> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bound of every wait for a connection, a turn, or the fate of a COMMIT: the pool's
    /// acquire timeout.
    pub(crate) fn wait_limit(&self) -> Duration {
        self.pool.options().get_acquire_timeout()
    }

    /// Who is asked about a COMMIT whose answer was lost.
    pub(crate) fn witness(&self) -> Witness<DB> {
        Witness {
            options: self.pool.connect_options(),
            limit: self.wait_limit(),
        }
    }

    /// How often a connection found dead at BEGIN is replaced: each of the pool's once, and
    /// a fresh one.
    pub(crate) fn begin_attempts(&self) -> usize {
        self.gate.admission.size().saturating_add(1)
    }

    /// A connection for `function`, whose chain holds those of `holding`.
    ///
    /// Safe to drop while it waits.
    pub(crate) async fn lease(
        &self,
        function: Site,
        purpose: Purpose,
        holding: &Holding,
    ) -> Result<Lease<DB>, Error> {
        self.check_writer(function, purpose, holding)?;
        let started = Instant::now();
        let mut queue = Queue::Writers;
        let leased = {
            // It stays where it is: handed on by value, it takes its room twice.
            let leased = pin!(self.admitted(function, purpose, holding, &mut queue));
            tokio::time::timeout(self.wait_limit(), leased).await
        };
        match leased {
            Ok(Err(Error::Begin {
                source: sqlx::Error::PoolTimedOut,
                ..
            }))
            | Err(_) => {}
            Ok(result) => return result,
        }
        let waited = started.elapsed();
        // Whose turn had come waited for the pool, not for others that are in order before him.
        if queue == Queue::Pool
            && let Some(unreachable) = Box::pin(self.look(function)).await
        {
            return Err(unreachable);
        }
        Err(Error::ConnectionTimeout {
            function,
            outer: holding.innermost,
            waited,
            size: self.gate.admission.size(),
            kept: match queue {
                Queue::Admission => self.gate.admission.kept_from(holding.level),
                Queue::Writers | Queue::Pool => 0,
            },
            writer: queue == Queue::Writers,
        })
    }

    /// Whether it is the database that gives no connections.
    async fn look(&self, function: Site) -> Option<Error> {
        if self.concurrency == Concurrency::Exclusive {
            return None;
        }
        let found = connecting::look::<DB>(function, &self.pool.connect_options()).await?;
        let told =
            matches!(&found, Error::Connect { obstacle, .. } if *obstacle != Obstacle::Other);
        told.then_some(found)
    }

    /// What a request holds that is part of no transaction, and during which nothing else is
    /// waited for: it may have the connections that are kept for nested transactions.
    pub(crate) fn in_between(&self, mut holding: Holding) -> Holding {
        holding.level = holding.level.max(self.gate.admission.innermost_level());
        holding.under_lock = true;
        holding
    }

    /// Refuses what would wait for its own chain to end.
    pub(crate) fn check_writer(
        &self,
        function: Site,
        purpose: Purpose,
        holding: &Holding,
    ) -> Result<(), Error> {
        match holding.innermost {
            Some(outer) if self.excludes(purpose) => Err(Error::SecondWriter { function, outer }),
            _ => Ok(()),
        }
    }

    /// Says that the chain of a connection, its `level`-th, waits for a lock.
    pub(crate) fn park(&self, level: usize) -> Parked {
        self.gate.admission.park(level)
    }

    /// Whether a second connection would wait for the chain that asks for it.
    fn excludes(&self, purpose: Purpose) -> bool {
        match self.concurrency {
            Concurrency::Concurrent => false,
            Concurrency::SingleWriter => purpose != Purpose::Read,
            Concurrency::Exclusive => true,
        }
    }

    /// `queue`: where it stands.
    async fn admitted(
        &self,
        function: Site,
        purpose: Purpose,
        holding: &Holding,
        queue: &mut Queue,
    ) -> Result<Lease<DB>, Error> {
        // The writer's turn comes first: whoever waits for it holds no connection.
        let writer = self.writer_turn(purpose).await;
        *queue = Queue::Admission;
        let permit = self
            .gate
            .admission
            .admit(holding.level, &holding.holders, holding.under_lock)
            .await
            .map_err(|impossible| Error::PoolTooSmall {
                function,
                outer: holding.innermost.unwrap_or(function),
                size: self.gate.admission.size(),
                needed: impossible.needed,
            })?;
        *queue = Queue::Pool;
        let connection = self.pool.acquire().await;
        let connection = connection.map_err(|source| self.not_acquired(function, source))?;
        Ok(Lease::new(connection, permit, writer))
    }

    fn not_acquired(&self, function: Site, source: sqlx::Error) -> Error {
        if let sqlx::Error::PoolClosed | sqlx::Error::PoolTimedOut = source {
            return Error::Begin {
                function,
                retryable: false,
                source,
            };
        }
        connecting::refused::<DB>(function, &self.pool.connect_options(), source)
    }

    async fn writer_turn(&self, purpose: Purpose) -> Option<OwnedSemaphorePermit> {
        let queues = self.concurrency != Concurrency::Concurrent && purpose == Purpose::Transaction;
        if !queues {
            return None;
        }
        Arc::clone(&self.gate.writer).acquire_owned().await.ok()
    }

    /// As [`lease`](Self::lease), for one statement in autocommit.
    ///
    /// There is no BEGIN here whose failure would show that the connection has died, so a
    /// pool that hands its connections out untested has them tested now.
    pub(crate) async fn lease_for_statement(
        &self,
        function: Site,
        purpose: Purpose,
        holding: &Holding,
    ) -> Result<Lease<DB>, Error> {
        let mut attempts = self.begin_attempts();
        loop {
            let mut lease = self.lease(function, purpose, holding).await?;
            attempts -= 1;
            if attempts == 0
                || self.pool.options().get_test_before_acquire()
                // It is in this process, and closing it would lose the database.
                || self.concurrency == Concurrency::Exclusive
                || lease.use_connection().ping().await.is_ok()
            {
                lease.mark_clean();
                return Ok(lease);
            }
        }
    }
}
