//! A transaction whose time is limited: bound on the server, and stopped there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Transaction;
use crate::dialect::Dialect;
use crate::interrupt;
use crate::level::Level;
use crate::operation::{Operation, Product, Task};
use crate::site::Site;
use crate::wire::{Step, Wire};

impl<DB: Dialect> Transaction<DB> {
    /// A scope with a deadline has joined, or nests.
    pub(crate) fn expect_interrupts(&self) {
        self.timed.store(true, Ordering::Release);
    }

    /// Whether the connection has to be bound before the next statement.
    pub(super) fn is_to_be_bound(&self) -> bool {
        self.timed.load(Ordering::Acquire) && self.backend.get().is_none()
    }

    /// Learns how to stop the work on the connection, and limits it if the whole transaction is
    /// limited.
    pub(super) async fn bind(
        &self,
        wire: &mut Wire<DB>,
        level: &Arc<Level>,
        function: Site,
    ) -> Result<(), sqlx::Error> {
        let backend = Product::new();
        // Limits of a savepoint would stay when it is released.
        let limit = self.root.deadline().map(|deadline| deadline.left());
        let task = Task::Bind(limit, backend.another());
        let step = Step::Statement {
            level: Arc::clone(level),
            function,
        };
        wire.perform(step, Operation::Task(task)).await?;
        if let Ok(backend) = backend.take() {
            let _ = self.backend.set(backend);
        }
        Ok(())
    }

    /// What may have been told to stop has ended.
    pub(super) fn call_off(&self) {
        if let Some(backend) = self.backend.get() {
            DB::call_off(backend);
        }
    }

    /// Stops what is under way on the connection for somebody who no longer waits for it.
    pub(crate) async fn interrupt(&self) {
        let Some(backend) = self.backend.get() else {
            return;
        };
        // Kept until it has ended, so that nothing else can be hit. Whoever has it now does wait.
        let Some(mut wire) = self.try_wire().filter(|wire| wire.is_stoppable()) else {
            return;
        };
        let ended = async move {
            // Its error was what it was stopped for.
            drop(wire.finish().await);
            DB::call_off(backend);
        };
        interrupt::interrupt(self.used_source().pool(), backend.clone(), ended).await;
    }
}
