//! A transaction and the locks it runs under.
//!
//! What is read under a lock must not be older than the lock, and what is written under a
//! lease must be refused once the lease has gone to somebody else. Both are seen to before the
//! first statement under the lock.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::Transaction;
use crate::cause::{Cause, CauseKind, Doom};
use crate::chain::Physical as _;
use crate::dialect::Dialect;
use crate::error::Error;
use crate::level::Level;
use crate::lock::{Fence, Held, Share, Unsettled};
use crate::operation::{Operation, Product, ServerLocks, Task};
use crate::site::Site;
use crate::source::{Holding, Purpose, Source};
use crate::wire::{Step, Taking, Wire};

/// Tokens that are being written down before a transaction begins.
pub(super) struct Registration {
    locks: Vec<Arc<Held>>,
    /// A greater token, if one was found.
    outrun: Product<i64>,
}

impl<DB: Dialect> Transaction<DB> {
    /// Takes locks of the server on this transaction's own connection, which keeps `held`
    /// then: with BEGIN if it has not begun. `may_be_late`: whether it was found that a lock
    /// may be taken after statements have run.
    pub(crate) async fn take_locks(
        self: &Arc<Self>,
        level: &Arc<Level>,
        function: Site,
        locks: ServerLocks,
        held: &Arc<Held>,
        may_be_late: bool,
    ) -> Result<(), Error> {
        let transaction = Arc::downgrade(self);
        let taking = Taking {
            held: Arc::clone(held),
            transaction,
        };
        let mut wire = self.turn(level, function).await?;
        let taken = if wire.is_unused() {
            let locks = Some((&locks, taking));
            self.begin(&mut wire, function, locks).await
        } else {
            if !may_be_late {
                // Another branch has begun while this one waited for its turns.
                self.refuse_old_snapshot(&mut wire, level, function, &held.keys())
                    .await?;
            }
            let nested = wire.innermost_savepoint().is_some();
            let step = Step::Lock {
                level: Arc::clone(level),
                function,
                taking,
            };
            let locks = locks.clone();
            let done = wire
                .perform(step, Operation::Task(Task::Lock { nested, locks }))
                .await;
            done.map(drop).map_err(Error::Database)
        };
        taken.map_err(|error| busy::<DB>(error, function, &locks))
    }

    /// Refuses `function`, which is to join under a new lock, if what has been read may be
    /// older than the lock will be; `true` if it may join although something has run.
    ///
    /// Sees through what is under way, other locks among it.
    pub(crate) async fn refuse_late_lock(
        &self,
        level: &Arc<Level>,
        function: Site,
        key: &str,
    ) -> Result<bool, Error> {
        let mut wire = self.turn(level, function).await?;
        if wire.is_unused() {
            return Ok(false);
        }
        let refused = self.refuse_old_snapshot(&mut wire, level, function, key);
        refused.await.map(|()| true)
    }

    /// Waits for what goes on without its caller under locks that this transaction's end
    /// opens.
    pub(super) async fn orphans_gone(&self) {
        for held in self.adopted.those(true) {
            held.orphans_gone().await;
        }
    }

    /// Whether the transaction is prepared for all its locks, those of the next statement among
    /// them: it may have let go of these since that statement was written.
    pub(super) fn is_settled_under(&self, locks: &[Arc<Held>]) -> bool {
        if !locks.is_empty() {
            self.adopt(locks);
        }
        self.adopted.is_settled()
    }

    /// Prepares the begun transaction for the locks that it has adopted since the last time, for
    /// a statement that relies on `locks`.
    pub(super) async fn settle_locks(
        &self,
        wire: &mut Wire<DB>,
        level: &Arc<Level>,
        function: Site,
        locks: &[Arc<Held>],
    ) -> Result<(), Error> {
        self.registered(function)?;
        self.settle_late_locks(wire, level, function, locks).await?;
        for Unsettled { held, .. } in self.adopted.unsettled() {
            let mut fences = held.fences(self.source.id());
            if self.is_fenced_further_out(&held) {
                fences.clear();
            }
            if level.is_read_only() && !fences.is_empty() {
                // Too late to write them down. What is read here goes without; whatever is
                // written under the lock later is checked then.
                continue;
            }
            let in_savepoint = !fences.is_empty() && wire.innermost_savepoint().is_some();
            for fence in fences {
                self.fence(wire, function, &held, fence).await?;
            }
            self.adopted.settle(&held, in_savepoint);
        }
        Ok(())
    }

    /// Lets go of the locks that are newer than what is read here, and refuses a statement that
    /// relies on one of them, which has then failed as it would on the server.
    ///
    /// Others may run: that a scope without statements has joined under a lock, or that the lock
    /// is kept for a transaction further out, is nothing to them.
    async fn settle_late_locks(
        &self,
        wire: &mut Wire<DB>,
        level: &Arc<Level>,
        function: Site,
        locks: &[Arc<Held>],
    ) -> Result<(), Error> {
        let unsettled = self.adopted.unsettled().into_iter();
        let late: Vec<_> = unsettled.filter(|it| it.late).map(|it| it.held).collect();
        if late.is_empty() || !self.reads_older_state(wire, level, function).await? {
            return Ok(());
        }
        for held in &late {
            self.adopted.refuse(held);
        }
        let relied_on = |held: &&Arc<Held>| locks.iter().any(|lock| Arc::ptr_eq(lock, held));
        let relied_on: Vec<_> = late.iter().filter(relied_on).cloned().collect();
        if relied_on.is_empty() {
            return Ok(());
        }
        let refusal = self.lock_after_snapshot(function, keys(&relied_on));
        if !self.source.tolerates_failed_statements() {
            let cause = Cause::of_function(CauseKind::Statement, refusal.to_string());
            level.doom(Doom::new(function, cause));
        }
        Err(refusal)
    }

    /// Whether a transaction around this one has written the lock's token down: it keeps that
    /// row locked until its end, which comes after this one's.
    fn is_fenced_further_out(&self, held: &Arc<Held>) -> bool {
        let mut outwards = std::iter::successors(self.outer.as_ref(), |t| t.outer.as_ref());
        outwards.any(|outer| {
            outer.has_begun() && !outer.info.is_read_only() && outer.adopted.has_settled(held)
        })
    }

    /// The locks whose tokens have to be written down before this transaction begins, because
    /// it cannot write: what it reads must not be changed by a holder from before.
    pub(super) fn to_register(
        &self,
        source: &Source<DB>,
        function: Site,
        holding: &Holding,
    ) -> Vec<Arc<Held>> {
        let writable = || {
            source
                .check_writer(function, Purpose::Write, holding)
                .is_ok()
        };
        // Beside the writer of its own chain nobody else writes.
        if !self.info.is_read_only() || self.adopted.is_settled() || !writable() {
            return Vec::new();
        }
        let unsettled = self.adopted.unsettled().into_iter().map(|u| u.held);
        unsettled
            .filter(|held| {
                !held.fences(self.source.id()).is_empty() && !self.is_fenced_further_out(held)
            })
            .collect()
    }

    /// What begins this transaction after the tokens of `locks` were written down.
    pub(super) fn register(&self, locks: &[Arc<Held>]) -> Task<DB> {
        let outrun = Product::new();
        *self.registration() = Some(Registration {
            locks: locks.to_vec(),
            outrun: outrun.another(),
        });
        Task::BeginFenced {
            terms: self.terms(),
            fences: locks
                .iter()
                .flat_map(|held| held.fences(self.source.id()))
                .collect(),
            outrun,
        }
    }

    /// Sees what has come of a registration, which may have gone on without its caller.
    fn registered(&self, function: Site) -> Result<(), Error> {
        let Some(Registration { locks, outrun }) = self.registration().take() else {
            return Ok(());
        };
        if let Some(seen) = outrun.found() {
            for held in &locks {
                held.outrun(seen);
            }
            return Err(self.outrun(function, keys(&locks)));
        }
        for held in &locks {
            self.adopted.settle(held, false);
        }
        Ok(())
    }

    fn registration(&self) -> MutexGuard<'_, Option<Registration>> {
        let registration = self.registration.lock();
        registration.unwrap_or_else(PoisonError::into_inner)
    }

    /// Why this transaction could not begin.
    pub(super) fn begin_failed(&self, source: sqlx::Error, function: Site) -> Error {
        match self.registration().take() {
            Some(registration) if DB::lacks_fence_table(&source) => {
                fence_failed::<DB>(source, function, keys(&registration.locks))
            }
            _ if self.author.is_some() && DB::lacks_history(&source) => Error::NoHistoryTable {
                function,
                table: DB::OPEN_REVISION,
            },
            _ => Error::Begin {
                function,
                retryable: DB::is_retryable(&source),
                source,
            },
        }
    }

    async fn refuse_old_snapshot(
        &self,
        wire: &mut Wire<DB>,
        level: &Arc<Level>,
        function: Site,
        key: &str,
    ) -> Result<(), Error> {
        if self.reads_older_state(wire, level, function).await? {
            return Err(self.lock_after_snapshot(function, key.to_owned()));
        }
        Ok(())
    }

    /// Whether what is read in this transaction, which has begun, may be older than a lock that
    /// is taken now.
    async fn reads_older_state(
        &self,
        wire: &mut Wire<DB>,
        level: &Arc<Level>,
        function: Site,
    ) -> Result<bool, Error> {
        let answer = Product::new();
        let task = Task::KeepsSnapshot(self.info.isolation(), answer.another());
        perform(wire, level, function, task)
            .await
            .map_err(Error::Database)?;
        // A replica lags behind what was committed under the lock.
        Ok(answer.take().map_err(Error::Database)? || self.is_on_replica())
    }

    fn lock_after_snapshot(&self, function: Site, key: String) -> Error {
        Error::LockAfterSnapshot {
            function,
            key,
            outer: self.root.site(),
        }
    }

    async fn fence(
        &self,
        wire: &mut Wire<DB>,
        function: Site,
        held: &Held,
        fence: Fence,
    ) -> Result<(), Error> {
        let answer = Product::new();
        let key = fence.key.to_string();
        let task = Task::Fence(fence, answer.another());
        perform(wire, &self.root, function, task)
            .await
            .map_err(|source| fence_failed::<DB>(source, function, key.clone()))?;
        let Some(seen) = answer.take().map_err(Error::Database)? else {
            return Ok(());
        };
        held.outrun(seen);
        Err(self.outrun(function, key))
    }

    /// Somebody else has had the lock, so nothing more runs here.
    fn outrun(&self, function: Site, key: String) -> Error {
        let error = Error::LockLost { function, key };
        let cause = Cause::of_function(CauseKind::LockLost, error.to_string());
        self.root.doom(Doom::new(function, cause));
        error
    }

    /// Refuses to commit under locks that are held no longer; what COMMIT itself has to see to
    /// is given as SQL.
    pub(super) async fn check_locks(&self) -> Result<String, Error> {
        for held in self.adopted.unproved(self.source.id()) {
            held.check(self.root.site()).await?;
        }
        Ok(self
            .adopted
            .proofs(self.source.id(), self.info.is_read_only()))
    }

    /// Whether a COMMIT that has failed with `error` was refused for want of a lock.
    pub(super) async fn lost_lock(&self, error: &sqlx::Error) -> Option<Error> {
        if self.adopted.is_empty() {
            return None;
        }
        // A conflict may be with whoever has taken the lock over.
        let suspicious = DB::lacks_rows(error) || DB::is_retryable(error);
        for held in self.adopted.all() {
            let function = self.root.site();
            let proves = held.proof(self.source.id(), Share::Reads).is_some();
            if suspicious
                && proves
                && let Err(lost @ Error::LockLost { .. }) = held.check(function).await
            {
                return Some(lost);
            }
        }
        None
    }
}

fn keys(locks: &[Arc<Held>]) -> String {
    let keys: Vec<String> = locks.iter().map(|held| held.keys()).collect();
    keys.join("`, `")
}

async fn perform<DB: Dialect>(
    wire: &mut Wire<DB>,
    level: &Arc<Level>,
    function: Site,
    task: Task<DB>,
) -> Result<(), sqlx::Error> {
    let step = Step::Statement {
        level: Arc::clone(level),
        function,
    };
    let done = wire.perform(step, Operation::Task(task)).await;
    done.map(drop)
}

/// Why a token could not be written down, in words that help.
fn fence_failed<DB: Dialect>(source: sqlx::Error, function: Site, key: String) -> Error {
    if DB::lacks_fence_table(&source) {
        return Error::NoFenceTable {
            function,
            key,
            create: DB::FENCE_TABLE,
        };
    }
    Error::LockUnavailable {
        function,
        key,
        source: source.into(),
    }
}

/// A lock that was not free in time, said so.
fn busy<DB: Dialect>(error: Error, function: Site, locks: &ServerLocks) -> Error {
    let (Error::Begin { source, .. } | Error::Database(source)) = &error else {
        return error;
    };
    if !DB::lock_was_busy(source) {
        return error;
    }
    Error::LockTimeout {
        function,
        key: locks.keys.join("`, `"),
        waited: locks.wait,
        holder: locks.holder.found(),
    }
}
