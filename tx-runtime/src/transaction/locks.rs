//! A transaction and the locks it runs under.
//!
//! What is read under a lock must not be older than the lock, and what is written under a
//! lease must be refused once the lease has gone to somebody else. Both are seen to before the
//! first statement under the lock.

use std::sync::Arc;

use super::Transaction;
use crate::cause::{Cause, CauseKind, Doom};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::level::Level;
use crate::lock::{Fence, Held};
use crate::operation::{Operation, Product, ServerLocks, Task};
use crate::site::Site;
use crate::wire::{Step, Taking, Wire};

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

    /// Prepares the begun transaction for the locks that it has adopted since the last time.
    pub(super) async fn settle_locks(
        &self,
        wire: &mut Wire<DB>,
        level: &Arc<Level>,
        function: Site,
    ) -> Result<(), Error> {
        for unsettled in self.adopted.unsettled() {
            let held = unsettled.held;
            if unsettled.late
                && let Err(refused) = self
                    .refuse_old_snapshot(wire, level, function, &held.keys())
                    .await
            {
                self.adopted.refuse(&held);
                return Err(refused);
            }
            let mut fences = held.fences();
            if level.is_read_only() && !fences.is_empty() {
                // Here they cannot be written down, and there is nothing to protect.
                continue;
            }
            if self.is_fenced_further_out(&held) {
                fences.clear();
            }
            let in_savepoint = !fences.is_empty() && wire.innermost_savepoint().is_some();
            for fence in fences {
                self.fence(wire, function, &held, fence).await?;
            }
            self.adopted.settle(&held, in_savepoint);
        }
        Ok(())
    }

    /// Whether a transaction around this one has written the lock's token down: it keeps that
    /// row locked until its end, which comes after this one's.
    fn is_fenced_further_out(&self, held: &Arc<Held>) -> bool {
        let mut outwards = std::iter::successors(self.outer.as_ref(), |t| t.outer.as_ref());
        outwards.any(|outer| outer.has_begun() && outer.adopted.has_settled(held))
    }

    async fn refuse_old_snapshot(
        &self,
        wire: &mut Wire<DB>,
        level: &Arc<Level>,
        function: Site,
        key: &str,
    ) -> Result<(), Error> {
        let answer = Product::new();
        let task = Task::KeepsSnapshot(self.terms.isolation, answer.another());
        perform(wire, level, function, task)
            .await
            .map_err(Error::Database)?;
        // A replica lags behind what was committed under the lock.
        if answer.take().map_err(Error::Database)? || self.is_on_replica() {
            return Err(Error::LockAfterSnapshot {
                function,
                key: key.to_owned(),
                outer: self.root.site(),
            });
        }
        Ok(())
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
            .map_err(|source| fence_failed::<DB>(source, function, &key))?;
        let Some(seen) = answer.take().map_err(Error::Database)? else {
            return Ok(());
        };
        held.outrun(seen);
        let error = Error::LockLost { function, key };
        let cause = Cause::of_function(CauseKind::LockLost, error.to_string());
        self.root.doom(Doom::new(function, cause));
        Err(error)
    }

    /// Refuses to commit under locks that are held no longer.
    pub(super) async fn check_locks(&self) -> Result<(), Error> {
        if self.adopted.is_empty() {
            return Ok(());
        }
        for held in self.adopted.all() {
            held.check(self.root.site()).await?;
        }
        Ok(())
    }
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
fn fence_failed<DB: Dialect>(source: sqlx::Error, function: Site, key: &str) -> Error {
    let key = key.to_owned();
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
