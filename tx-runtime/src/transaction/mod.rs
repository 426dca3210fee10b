//! One physical transaction: from the first statement's BEGIN to COMMIT or ROLLBACK.

mod locks;
mod revision;
mod savepoint;
mod timeout;
mod turn;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{MutexGuard, Notify};
use tracing::Span;

use crate::admission::{Holder, Parked};
use crate::aftermath::{self, Aftermath};
use crate::author::Author;
use crate::cause::Doom;
use crate::chain::Physical;
use crate::deadline::Deadline;
use crate::dialect::{Dialect, Fault};
use crate::error::Error;
use crate::hook::Completion;
use crate::hooks::Hooks;
use crate::journal::Journal;
use crate::lease::Lease;
use crate::lending;
use crate::level::{End, Level};
use crate::listener::Suspension;
use crate::lock::{Adopted, Held};
use crate::operation::{Operation, ServerLocks, Task};
use crate::options::Terms;
use crate::own_writes;
use crate::site::Site;
use crate::source::{Holding, Purpose, Source};
use crate::transaction_info::TransactionInfo;
use crate::values::Values;
use crate::wire::{Step, Taking, Wire};

use self::locks::Registration;

/// How long the end of a transaction waits for what is still under way on its connection (a
/// statement whose caller is gone, a COMMIT) before it closes the connection.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(30);

/// The same where that is a lock which somebody else may have for long, and which nobody wants
/// any longer.
const LOCK_LIMIT: Duration = Duration::from_millis(500);

/// The wire in the hands of whoever uses it now.
pub(crate) type Turn<'a, DB> = MutexGuard<'a, Wire<DB>>;

/// A physical transaction of one `Db`.
pub(crate) struct Transaction<DB: Dialect> {
    source: Arc<Source<DB>>,
    root: Arc<Level>,
    info: TransactionInfo,
    /// Who makes its changes, for the history.
    author: Option<Arc<Author>>,
    /// The transaction of the same chain and `Db` that this one suspended.
    outer: Option<Arc<Self>>,
    wire: tokio::sync::Mutex<Wire<DB>>,
    /// Told whenever a savepoint's scope ends.
    savepoint_ended: Notify,
    savepoints: AtomicUsize,
    /// Whether it waits for a connection or has one, and whether it has. Readable while
    /// somebody else has the wire, which is when admission asks.
    wants_connection: AtomicBool,
    holds_connection: AtomicBool,
    /// Whether that connection is, or is wanted, of the replica.
    on_replica: AtomicBool,
    /// At which level of its chain it asked for the connection.
    nesting: AtomicUsize,
    /// Where to clean up if the scope is dropped outside of a runtime.
    runtime: OnceLock<Handle>,
    hooks: Hooks,
    values: Values,
    /// Whether a scope of it has a deadline.
    timed: AtomicBool,
    /// What stops the work on its connection, once that is bound.
    backend: OnceLock<DB::Backend>,
    /// What is written down before a transaction begins that cannot write.
    registration: Mutex<Option<Registration>>,
    /// Locks under which statements of this transaction ran; they open after its end.
    adopted: Adopted,
}

/// What became of COMMIT, and the error that came instead of a good answer.
pub(crate) enum Verdict {
    Committed,
    RolledBack(sqlx::Error),
    EndedEarly(sqlx::Error),
    Unknown(sqlx::Error),
    /// Refused, because of a lock that is held no longer.
    LockLost(Error),
}

impl<DB: Dialect> Transaction<DB> {
    pub(crate) fn new(
        source: Arc<Source<DB>>,
        info: TransactionInfo,
        author: Option<Arc<Author>>,
        deadline: Option<Deadline>,
        outer: Option<Arc<Self>>,
        span: Span,
    ) -> Arc<Self> {
        let tolerant = source.tolerates_failed_statements();
        let journal = Journal::new(info, &source.settings().watch, span);
        let wire = Wire::new(tolerant, source.take_spent(), journal);
        Arc::new(Self {
            source,
            root: Level::root(info.function(), info.is_read_only(), deadline),
            info,
            author,
            outer,
            wire: tokio::sync::Mutex::new(wire),
            savepoint_ended: Notify::new(),
            savepoints: AtomicUsize::new(0),
            wants_connection: AtomicBool::new(false),
            holds_connection: AtomicBool::new(false),
            on_replica: AtomicBool::new(false),
            nesting: AtomicUsize::new(0),
            runtime: OnceLock::new(),
            registration: Mutex::default(),
            adopted: Adopted::default(),
            hooks: Hooks::default(),
            values: Values::default(),
            timed: AtomicBool::new(deadline.is_some()),
            backend: OnceLock::new(),
        })
    }

    pub(crate) fn root(&self) -> &Arc<Level> {
        &self.root
    }

    pub(crate) fn info(&self) -> TransactionInfo {
        self.info
    }

    fn terms(&self) -> Terms {
        self.info.terms
    }

    pub(crate) fn author(&self) -> Option<&Arc<Author>> {
        self.author.as_ref()
    }

    /// What its scopes have put for each other.
    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    /// The hooks that are due now that the transaction has ended.
    pub(crate) fn aftermath(&self, completion: Completion) -> Option<Aftermath> {
        Aftermath::of(self.hooks.ended(completion), self.source.cleanups())
    }

    /// The hooks that are due now that a savepoint was rolled back.
    pub(crate) fn aftermath_of(&self, savepoint: &Arc<Level>) -> Option<Aftermath> {
        Aftermath::of(self.hooks.undone(savepoint), self.source.cleanups())
    }

    pub(crate) fn new_savepoint(
        &self,
        parent: &Arc<Level>,
        site: Site,
        read_only: bool,
        deadline: Option<Deadline>,
    ) -> Arc<Level> {
        let number = self.savepoints.fetch_add(1, Ordering::Relaxed) + 1;
        parent.savepoint(site, number, read_only, deadline)
    }

    /// Keeps locks from opening before this transaction has ended.
    pub(crate) fn adopt(&self, locks: &[Arc<Held>]) {
        if !locks.is_empty() && self.root.check_open().is_ok() {
            self.adopted.adopt(locks, self.has_begun());
        }
    }

    /// It is all that is done under `held`, which it has adopted.
    pub(crate) fn is_whole(&self, held: &Arc<Held>) {
        self.adopted.is_whole(held);
    }

    /// Says, as long as the answer lives, that a scope has set it aside, if there is anybody who
    /// listens and anything to be said of it.
    pub(crate) fn suspend(&self) -> Option<Box<Suspension>> {
        let watch = &self.source.settings().watch;
        let heard = watch.has_listeners() && self.has_begun();
        heard.then(|| Box::new(Suspension::of(watch, self.info)))
    }

    async fn begin(
        &self,
        wire: &mut Wire<DB>,
        function: Site,
        locks: Option<(&ServerLocks, Taking)>,
    ) -> Result<(), Error> {
        let begun = self.try_begin(wire, function, locks).await;
        // A lock that was not free costs the transaction nothing, begun or not.
        let busy = |error: &Error| matches!(error, Error::Begin { source, .. } if DB::lock_was_busy(source));
        if let Err(error) = &begun
            && !busy(error)
        {
            self.root
                .doom(Doom::new(function, error.as_cause_of_begin()));
        }
        begun
    }

    async fn try_begin(
        &self,
        wire: &mut Wire<DB>,
        function: Site,
        locks: Option<(&ServerLocks, Taking)>,
    ) -> Result<(), Error> {
        let (locks, taking) = locks.unzip();
        let source = self.choose_source(locks);
        let mut holding = self.outer.as_ref().map_or_else(Holding::default, |outer| {
            outer.holding(self.is_on_replica())
        });
        holding.under_lock = !self.adopted.is_empty();
        self.nesting.store(holding.level, Ordering::Release);
        let registering = match locks {
            None => self.to_register(source, function, &holding),
            Some(_) => Vec::new(),
        };
        let mut attempts = source.begin_attempts();
        loop {
            // Set while it waits as well: a branch of the same scope that asks meanwhile is
            // inside this transaction, whichever is served first.
            let wanting = Wanting::mark(&self.wants_connection);
            let writes = !self.info.is_read_only() || !registering.is_empty();
            wire.journal().asks();
            let lease = self.lease(source, function, &holding, writes).await;
            let lease = lease.inspect_err(|error| wire.journal().refused(error))?;
            wanting.keep();
            self.holds_connection.store(true, Ordering::Release);
            self.runtime.get_or_init(|| lease.runtime().clone());
            let lent = lease.is_lent();
            let Err(source) = wire
                .begin(lease, self.opening(locks, &registering), taking.clone())
                .await
            else {
                return Ok(());
            };
            self.let_go();
            attempts -= 1;
            if DB::lock_came_too_late(&source) && !self.source.locks_first() {
                self.source.learn_to_lock_first();
                continue;
            }
            // Nothing has run yet, so a dead or unclean connection can be replaced unseen; but
            // not one that keeps locks.
            let replaceable =
                DB::fault(&source) == Fault::Connection || DB::found_open_transaction(&source);
            if !replaceable || lent || attempts == 0 {
                return Err(self.begin_failed(source, function));
            }
        }
    }

    /// Where its connection comes from: the replica, unless something is written in it, read
    /// under a lock, which must be as it was committed under the lock before, or read by who has
    /// written to the database itself.
    fn choose_source(&self, locks: Option<&ServerLocks>) -> &Arc<Source<DB>> {
        let may_lag = self.info.is_read_only() && locks.is_none() && self.adopted.is_empty();
        let replica = self.source.replica().filter(|_| may_lag);
        let replica = replica.filter(|_| !own_writes::includes(self.source.id()));
        self.on_replica.store(replica.is_some(), Ordering::Release);
        replica.unwrap_or(&self.source)
    }

    /// Where its connection came from.
    fn used_source(&self) -> &Arc<Source<DB>> {
        let on_replica = self.source.replica().filter(|_| self.is_on_replica());
        on_replica.unwrap_or(&self.source)
    }

    pub(crate) fn is_on_replica(&self) -> bool {
        self.on_replica.load(Ordering::Acquire)
    }

    async fn lease(
        &self,
        source: &Source<DB>,
        function: Site,
        holding: &Holding,
        writes: bool,
    ) -> Result<Lease<DB>, Error> {
        let purpose = if writes {
            Purpose::Transaction
        } else {
            Purpose::Read
        };
        let pool = source.lease(function, purpose, holding);
        lending::lease(self.source.id(), &self.adopted.all(), pool).await
    }

    fn opening(&self, locks: Option<&ServerLocks>, registering: &[Arc<Held>]) -> Task<DB> {
        match locks {
            None if !registering.is_empty() => self.register(registering),
            None => Task::Begin {
                terms: self.terms(),
                author: self.author.clone(),
            },
            Some(locks) => Task::BeginLocked {
                terms: self.terms(),
                author: self.author.clone(),
                first: self.source.locks_first(),
                locks: locks.clone(),
            },
        }
    }

    /// The connections that this transaction and those around it hold, for a request to the
    /// replica's pool or to the other one.
    ///
    /// The level counts both pools, so that chains cannot wait for each other across them.
    pub(crate) fn holding(self: &Arc<Self>, on_replica: bool) -> Holding {
        let mut holding = Holding::default();
        let around = std::iter::successors(Some(self), |inner| inner.outer.as_ref());
        for transaction in around.filter(|t| t.wants_connection.load(Ordering::Acquire)) {
            holding.level += 1;
            holding.innermost.get_or_insert(transaction.root.site());
            if transaction.has_begun() && transaction.is_on_replica() == on_replica {
                holding.holders.push(Arc::as_ptr(transaction) as Holder);
            }
        }
        holding
    }

    pub(crate) fn is_on_pool_of(&self, source: &Source<DB>) -> bool {
        self.source.shares_pool(source)
    }

    /// Ends a transaction in which nothing ran; `false` if something did.
    pub(crate) fn end_if_unused(&self, kept: bool) -> bool {
        match self.wire.try_lock() {
            Ok(mut wire) if wire.is_unused() => {
                wire.discard();
                drop(self.over(wire, kept));
                true
            }
            _ => false,
        }
    }

    /// Sends COMMIT and returns what the server said to it.
    pub(crate) async fn commit(&self) -> Result<Verdict, Error> {
        let owner = self.root.site();
        let started = Instant::now();
        if !self.adopted.is_empty() {
            let gone = Box::pin(self.orphans_gone());
            tokio::time::timeout(self.source.wait_limit(), gone)
                .await
                .map_err(|_| Error::TurnTimeout {
                    function: owner,
                    holder: owner,
                    waited: started.elapsed(),
                })?;
        }
        let mut wire = self.locked(owner, started).await?;
        while let Some(open) = wire.innermost_savepoint() {
            let leftover = Arc::clone(open);
            leftover.finish(End::Abandoned);
            Box::pin(savepoint::roll_back_to(&mut wire, &leftover)).await?;
        }
        self.root.check(owner)?;
        if wire.is_unused() {
            wire.discard();
            drop(self.over(wire, true));
            return Ok(Verdict::Committed);
        }
        let proofs = if self.adopted.is_empty() {
            String::new()
        } else {
            Box::pin(self.check_locks()).await?
        };
        if !self.info.is_read_only() && self.source.replica().is_some() {
            // Before it is sent: the caller may be gone when it is answered.
            own_writes::note(self.source.id());
        }
        let answer = wire.perform(Step::Commit, self.committing(proofs)).await;
        let mut verdict = Verdict::of::<DB>(answer.map(drop), wire.completion());
        if let Verdict::Unknown(_) = verdict {
            self.adopted.doubt();
        }
        // Back in the pool, since another one may be needed to ask.
        drop(wire.take_ended());
        if let Verdict::RolledBack(error) = &verdict
            && let Some(lost) = Box::pin(self.lost_lock(error)).await
        {
            verdict = Verdict::LockLost(lost);
        }
        let kept = matches!(verdict, Verdict::Committed);
        for held in self.over(wire, kept) {
            // It is committed; a lock that cannot be opened is on record.
            let _ = Box::pin(held.open(owner)).await;
        }
        Ok(verdict)
    }

    fn committing(&self, proofs: String) -> Operation<DB> {
        Operation::Commit {
            proofs,
            read_only: self.info.is_read_only(),
            witness: self.used_source().witness(),
        }
    }

    /// Rolls back, if there is anything to roll back, and returns when that is certain.
    pub(crate) async fn roll_back(&self) {
        let lease = self.end_by_rollback().await;
        drop(lease);
    }

    /// The owner is gone: ends the transaction without it.
    pub(crate) fn abandon(self: &Arc<Self>) {
        if self.end_if_unused(false) {
            drop(self.aftermath(Completion::RolledBack));
            return;
        }
        self.root.finish(End::Abandoned);
        let runtime = Handle::try_current().ok();
        // Without a runtime nothing was begun, or the lease closes itself when dropped.
        if let Some(runtime) = runtime.as_ref().or_else(|| self.runtime.get()) {
            let others = self.adopted.those(false);
            let orphans: Vec<_> = others.iter().map(|held| held.orphan()).collect();
            let cleanup = Arc::clone(self).clean_up();
            self.source.cleanups().spawn(runtime, async move {
                cleanup.await;
                drop(orphans);
            });
        }
    }

    /// What a dropped scope leaves to do: see the leftover through, then roll back.
    async fn clean_up(self: Arc<Self>) {
        self.interrupt().await;
        if let Some(lease) = self.end_by_rollback().await {
            lease.hand_back().await;
        }
        // A COMMIT that was on its way has been seen through.
        let committed = self.wire.lock().await.completion();
        aftermath::settle(self.aftermath(committed.unwrap_or(Completion::RolledBack))).await;
    }

    async fn end_by_rollback(&self) -> Option<Lease<DB>> {
        // Those that take longer are cut off as well, and then the locks must open some time.
        drop(tokio::time::timeout(LEFTOVER_LIMIT, self.orphans_gone()).await);
        let waits_for_lock = self.try_wire().is_some_and(|wire| wire.is_taking_locks());
        let limit = if waits_for_lock {
            LOCK_LIMIT
        } else {
            LEFTOVER_LIMIT
        };
        let rollback = tokio::time::timeout(limit, self.settle_and_roll_back());
        if let Ok(lease) = rollback.await {
            return lease;
        }
        if self.try_wire().is_some_and(|wire| wire.is_committing()) {
            // A COMMIT that was sent is waited for however long the server takes.
            return self.settle_and_roll_back().await;
        }
        tracing::warn!(
            function = %self.root.site(),
            "a statement that its scope no longer waits for did not end in time; its connection is closed"
        );
        if let Some(mut wire) = self.try_wire() {
            wire.discard();
            drop(self.over(wire, false));
        }
        None
    }

    async fn settle_and_roll_back(&self) -> Option<Lease<DB>> {
        let mut wire = self.settled().await;
        if wire.is_idle() {
            if let Err(error) = wire
                .perform(Step::RollBack, Operation::Task(Task::RollBack))
                .await
            {
                tracing::warn!(function = %self.root.site(), %error, "ROLLBACK failed; the connection is closed");
            }
        } else if wire.is_unused() {
            wire.discard();
        }
        // The lock that has lent the connection may open when the transaction is over.
        let lease = wire.take_ended().filter(|lease| !lease.is_lent());
        // A COMMIT that was under way has been seen through.
        let kept = wire.completion() == Some(Completion::Committed);
        drop(self.over(wire, kept));
        lease
    }

    fn let_go(&self) {
        self.holds_connection.store(false, Ordering::Release);
        self.wants_connection.store(false, Ordering::Release);
    }

    /// The transaction has ended; `kept`: with what it did stored. Dropped, its locks open in
    /// the background.
    fn over(&self, mut wire: Turn<'_, DB>, kept: bool) -> Vec<Arc<Held>> {
        self.source.keep_spent(wire.take_spent());
        drop(wire);
        self.root.finish(End::Closed);
        self.let_go();
        self.savepoint_ended.notify_waiters();
        self.values.clear();
        self.adopted.let_go(self.root.site(), kept)
    }
}

impl<DB: Dialect> Physical for Transaction<DB> {
    fn adopted(&self) -> &Adopted {
        &self.adopted
    }

    fn has_begun(&self) -> bool {
        self.holds_connection.load(Ordering::Acquire)
    }

    fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    fn park(&self) -> Option<Parked> {
        let nesting = self.nesting.load(Ordering::Acquire);
        self.has_begun().then(|| self.used_source().park(nesting))
    }
}

impl<DB: Dialect> fmt::Debug for Transaction<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("owner", &self.root.site())
            .finish_non_exhaustive()
    }
}

impl Verdict {
    fn of<DB: Dialect>(answer: Result<(), sqlx::Error>, completion: Option<Completion>) -> Self {
        match answer {
            Ok(()) => Self::Committed,
            Err(error) if completion == Some(Completion::RolledBack) => Self::RolledBack(error),
            Err(error) if DB::ended_early(&error) => Self::EndedEarly(error),
            Err(error) => Self::Unknown(error),
        }
    }
}

/// Says that a connection is wanted, until the wait is given up or has led to one.
struct Wanting<'a>(Option<&'a AtomicBool>);

impl<'a> Wanting<'a> {
    fn mark(wants: &'a AtomicBool) -> Self {
        wants.store(true, Ordering::Release);
        Self(Some(wants))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        if let Some(wants) = self.0 {
            wants.store(false, Ordering::Release);
        }
    }
}
