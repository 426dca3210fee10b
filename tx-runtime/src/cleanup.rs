//! Clean-ups that drops started and nobody awaits: counted, so that `drain` can wait.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Notify;

/// The running clean-ups of one `Db`.
#[derive(Debug, Default)]
pub(crate) struct Cleanups {
    running: AtomicUsize,
    idle: Notify,
}

struct Running(Arc<Cleanups>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Cleanups {
    /// Runs `cleanup` on the runtime behind `handle`.
    ///
    /// On a runtime that has shut down the future is dropped at once, and what it owns
    /// must be safe to drop: leases close their connection.
    pub(crate) fn spawn<T>(
        self: &Arc<Self>,
        handle: &Handle,
        cleanup: impl Future<Output = T> + Send + 'static,
    ) {
        self.running.fetch_add(1, Ordering::AcqRel);
        let running = Running(Arc::clone(self));
        handle.spawn(async move {
            drop(cleanup.await);
            drop(running);
        });
    }

    pub(crate) async fn drain(&self) {
        loop {
            let idle = self.idle.notified();
            if self.running.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}
