//! Whose turn it is on a transaction's connection.
//!
//! Statements of concurrent branches take turns, and so do savepoints: what runs while a
//! savepoint is open that is not around it would be rolled back with it, so it waits until
//! that savepoint's scope has ended. Every wait is bounded by the pool's acquire timeout.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::futures::Notified;

use super::{Transaction, Turn};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::hook::Completion;
use crate::level::Level;
use crate::lock::Held;
use crate::site::Site;
use crate::wire::Wire;

impl<DB: Dialect> Transaction<DB> {
    /// The wire, if nobody is using it this moment.
    pub(crate) fn try_wire(&self) -> Option<Turn<'_, DB>> {
        self.wire.try_lock().ok()
    }

    /// Waits for the wire and sees through what is under way on it.
    pub(crate) async fn settle(&self, function: Site) -> Result<(), Error> {
        self.locked(function, Instant::now()).await.map(drop)
    }

    /// As [`ready`](Self::ready), if it takes no waiting and no message.
    #[inline]
    pub(crate) fn ready_now(
        &self,
        level: &Arc<Level>,
        locks: &[Arc<Held>],
    ) -> Option<Turn<'_, DB>> {
        let wire = self.wire.try_lock().ok()?;
        let at_level = match wire.innermost_savepoint() {
            None => level.is_root(),
            Some(open) => Arc::ptr_eq(open, level),
        };
        let ready = at_level
            && wire.is_idle()
            && !self.is_to_be_bound()
            && level.bar().is_none()
            && self.is_settled_under(locks);
        ready.then_some(wire)
    }

    /// The wire with the transaction begun and the savepoints of `level` open, for a statement
    /// that relies on `locks`.
    pub(crate) async fn ready(
        &self,
        level: &Arc<Level>,
        function: Site,
        locks: &[Arc<Held>],
    ) -> Result<Turn<'_, DB>, sqlx::Error> {
        let mut wire = self
            .turn(level, function)
            .await
            .map_err(Error::into_statement_error)?;
        if wire.is_unused() {
            self.begin(&mut wire, function, None)
                .await
                .map_err(Error::into_statement_error)?;
        }
        if self.is_to_be_bound() {
            Box::pin(self.bind(&mut wire, level, function)).await?;
        }
        if !self.is_settled_under(locks) {
            Box::pin(self.settle_locks(&mut wire, level, function, locks))
                .await
                .map_err(Error::into_statement_error)?;
        }
        if !level.is_root() {
            Box::pin(self.open_savepoints(&mut wire, level)).await?;
        }
        if let Err(late) = level.check(function) {
            // The scope has ended while this began its transaction, and its clean-up may have
            // given up waiting for the wire.
            if self.root.check_open().is_err() {
                wire.discard();
            }
            return Err(late.into_statement_error());
        }
        Ok(wire)
    }

    /// The wire, when it is the turn of `level`: nothing under way, and no savepoint open
    /// that is not around it.
    pub(super) async fn turn(
        &self,
        level: &Arc<Level>,
        function: Site,
    ) -> Result<Turn<'_, DB>, Error> {
        let started = Instant::now();
        loop {
            level.check(function)?;
            let mut wire = self.locked(function, started).await?;
            // What was under way may have doomed the level.
            level.check(function)?;
            self.roll_back_abandoned(&mut wire).await?;
            level.check(function)?;
            let Some(foreign) = foreign_savepoint(&wire, level) else {
                return Ok(wire);
            };
            let holder = Arc::clone(foreign);
            let ended = self.savepoint_ended.notified();
            drop(wire);
            if !holder.is_abandoned() {
                self.wait_for_end(ended, &holder, function, started).await?;
            }
        }
    }

    /// The wire with nothing under way on it.
    pub(super) async fn locked(
        &self,
        function: Site,
        started: Instant,
    ) -> Result<Turn<'_, DB>, Error> {
        if let Ok(wire) = self.wire.try_lock()
            && !wire.is_busy()
        {
            return Ok(wire);
        }
        let left = self.source.wait_limit().saturating_sub(started.elapsed());
        tokio::time::timeout(left, Box::pin(self.settled()))
            .await
            .map_err(|_| Error::TurnTimeout {
                function,
                holder: self.root.site(),
                waited: started.elapsed(),
            })
    }

    /// Waits for the wire and sees through what is under way on it.
    pub(super) async fn settled(&self) -> Turn<'_, DB> {
        let mut wire = self.wire.lock().await;
        let committing = wire.is_committing();
        // A statement's error is on record: it doomed the level it belongs to.
        let ended = wire.finish().await;
        self.call_off();
        if wire.is_unused() {
            // A BEGIN that its caller did not wait for has failed.
            self.let_go();
        }
        let unknown = wire.completion() == Some(Completion::Unknown);
        if committing && unknown && ended.is_err_and(|error| !DB::ended_early(&error)) {
            self.adopted.doubt();
        }
        wire
    }

    async fn wait_for_end(
        &self,
        ended: Notified<'_>,
        holder: &Arc<Level>,
        function: Site,
        started: Instant,
    ) -> Result<(), Error> {
        let left = self.source.wait_limit().saturating_sub(started.elapsed());
        tokio::time::timeout(left, ended)
            .await
            .map_err(|_| Error::TurnTimeout {
                function,
                holder: holder.site(),
                waited: started.elapsed(),
            })
    }
}

/// The innermost open savepoint, if it is not around `level`.
fn foreign_savepoint<'a, DB: Dialect>(
    wire: &'a Wire<DB>,
    level: &Arc<Level>,
) -> Option<&'a Arc<Level>> {
    wire.innermost_savepoint()
        .filter(|open| !level.is_within(open))
}
