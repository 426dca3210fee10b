//! A transaction's savepoints: set when first needed, closed by identity, never left behind.

use std::sync::Arc;
use std::time::Instant;

use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::Transaction;
use crate::dialect::Dialect;
use crate::error::Error;
use crate::level::{End, Level};
use crate::operation::{Operation, Task};
use crate::wire::{Step, Wire};

impl<DB: Dialect> Transaction<DB> {
    /// Sets the savepoints that a statement of `level` stands on and that are not yet set.
    pub(super) async fn open_savepoints(
        &self,
        wire: &mut Wire<DB>,
        level: &Arc<Level>,
    ) -> Result<(), sqlx::Error> {
        if wire
            .innermost_savepoint()
            .is_some_and(|open| Arc::ptr_eq(open, level))
        {
            return Ok(());
        }
        for savepoint in level.savepoints() {
            if !wire.has_open(&savepoint) {
                let mut sql = savepoint.sql("SAVEPOINT ");
                if savepoint.begins_to_read_only()
                    && let Some(read_only) = DB::READ_ONLY_SAVEPOINT
                {
                    sql.push_str("; ");
                    sql.push_str(read_only);
                }
                control(wire, Step::OpenSavepoint(savepoint), sql).await?;
            }
        }
        Ok(())
    }

    /// Rolls back what scopes that were dropped half-way have left open.
    pub(super) async fn roll_back_abandoned(&self, wire: &mut Wire<DB>) -> Result<(), Error> {
        while let Some(open) = wire.innermost_savepoint()
            && open.is_abandoned()
        {
            let abandoned = Arc::clone(open);
            roll_back_to(wire, &abandoned).await?;
        }
        Ok(())
    }

    /// Ends a savepoint's scope: keeps its work, or rolls back to it.
    ///
    /// A savepoint that no statement opened needs no message.
    pub(crate) async fn close_savepoint(
        &self,
        level: &Arc<Level>,
        keep: bool,
    ) -> Result<(), Error> {
        let closed = self.try_close(level, keep).await;
        // Whoever waits for this savepoint goes on in any case; one that could not be closed
        // is rolled back by the next to use the connection.
        level.finish(if closed.is_ok() {
            End::Closed
        } else {
            End::Abandoned
        });
        self.savepoint_ended.notify_waiters();
        closed
    }

    async fn try_close(&self, level: &Arc<Level>, keep: bool) -> Result<(), Error> {
        let mut wire = self.locked(level.site(), Instant::now()).await?;
        if keep {
            // While this waited, the owner may have ended, or a statement that was still under
            // way may have failed.
            level.check(level.site())?;
        }
        if self.root.own_doom().is_some() {
            return Ok(());
        }
        let closed = close_on_server(&mut wire, level, keep).await;
        self.adopted.unsettle();
        closed
    }

    /// A savepoint's scope was dropped: the next to use the connection rolls it back.
    pub(crate) fn abandon_savepoint(&self, level: &Arc<Level>) {
        level.finish(End::Abandoned);
        self.adopted.unsettle();
        self.savepoint_ended.notify_waiters();
    }
}

async fn close_on_server<DB: Dialect>(
    wire: &mut Wire<DB>,
    level: &Arc<Level>,
    keep: bool,
) -> Result<(), Error> {
    // Whatever is open inside belongs to scopes that have outlived theirs.
    while let Some(inner) = wire.innermost_savepoint()
        && !Arc::ptr_eq(inner, level)
        && inner.is_within(level)
    {
        let inner = Arc::clone(inner);
        inner.finish(End::Abandoned);
        roll_back_to(wire, &inner).await?;
    }
    if !wire.has_open(level) {
        if keep {
            level.release();
        }
        return Ok(());
    }
    if !keep {
        return roll_back_to(wire, level).await;
    }
    let sql = level.sql("RELEASE SAVEPOINT ");
    control(wire, Step::Release(Arc::clone(level)), sql)
        .await
        .map_err(|source| Error::Savepoint {
            function: level.site(),
            source,
        })
}

pub(super) async fn roll_back_to<DB: Dialect>(
    wire: &mut Wire<DB>,
    level: &Arc<Level>,
) -> Result<(), Error> {
    let step = Step::RollBackTo(Arc::clone(level));
    control(wire, step, level.rollback_sql())
        .await
        .map_err(|source| Error::Savepoint {
            function: level.site(),
            source,
        })
}

async fn control<DB: Dialect>(
    wire: &mut Wire<DB>,
    step: Step<DB>,
    sql: String,
) -> Result<(), sqlx::Error> {
    let sql = AssertSqlSafe(sql).into_sql_str();
    wire.perform(step, Operation::Task(Task::Control(sql)))
        .await
        .map(drop)
}
