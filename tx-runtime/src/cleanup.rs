//! Clean-ups that drops started and nobody awaits: counted, so that `drain` can wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::Notify;

/// The running clean-ups of one `Db`.
#[derive(Debug, Default)]
pub(crate) struct Cleanups {
    running: AtomicUsize,
    idle: Notify,
}

/// One that runs, as long as this lives.
#[derive(Debug)]
pub(crate) struct Running(Arc<Cleanups>);

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
        let running = self.enter();
        handle.spawn(async move {
            drop(cleanup.await);
            drop(running);
        });
    }

    /// Counts what somebody else runs.
    pub(crate) fn enter(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(self))
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

/// A future that, dropped after it was started, goes on in the background.
pub(crate) struct SeenThrough<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    started: bool,
    cleanups: Arc<Cleanups>,
    runtime: Handle,
}

impl<T: Send + 'static> SeenThrough<T> {
    pub(crate) fn new(
        cleanups: Arc<Cleanups>,
        runtime: Handle,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        Self {
            work: Some(Box::pin(work)),
            started: false,
            cleanups,
            runtime,
        }
    }
}

impl<T: Send + 'static> Future for SeenThrough<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.started = true;
        let Some(work) = &mut self.work else {
            return Poll::Pending;
        };
        let result = work.as_mut().poll(cx);
        if result.is_ready() {
            self.work = None;
        }
        result
    }
}

impl<T: Send + 'static> Drop for SeenThrough<T> {
    fn drop(&mut self) {
        if self.started
            && let Some(work) = self.work.take()
        {
            self.cleanups.spawn(&self.runtime, work);
        }
    }
}
