//! Clean-ups that drops started and nobody awaits: counted, so that `drain` can wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::Notify;

tokio::task_local! {
    /// The clean-ups that the running one is counted among, by their address.
    static AMONG: usize;
}

/// The running clean-ups of one `Db`.
#[derive(Debug, Default)]
pub(crate) struct Cleanups {
    running: AtomicUsize,
    /// Those of them that wait for the others.
    draining: AtomicUsize,
    changed: Notify,
}

/// One that runs, as long as this lives.
#[derive(Debug)]
pub(crate) struct Running(Arc<Cleanups>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

/// A clean-up that waits for the others, as long as this lives.
struct Draining<'a>(&'a Cleanups);

impl<'a> Draining<'a> {
    fn mark(cleanups: &'a Cleanups) -> Self {
        cleanups.draining.fetch_add(1, Ordering::SeqCst);
        // It may have been the last that another one waits for.
        cleanups.changed.notify_waiters();
        Self(cleanups)
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.0.draining.fetch_sub(1, Ordering::SeqCst);
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
        handle.spawn(AMONG.scope(self.address(), async move {
            drop(cleanup.await);
            drop(running);
        }));
    }

    /// Counts what somebody else runs.
    pub(crate) fn enter(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::SeqCst);
        Running(Arc::clone(self))
    }

    /// Waits until none is left. Called by one of them, by a hook for example, it waits for
    /// those that do not wait themselves.
    pub(crate) async fn drain(&self) {
        let among = AMONG.try_with(|among| *among == self.address());
        let inside = among.unwrap_or(false).then(|| Draining::mark(self));
        loop {
            let changed = self.changed.notified();
            let waiting = match inside {
                Some(_) => self.draining.load(Ordering::SeqCst),
                None => 0,
            };
            if self.running.load(Ordering::SeqCst) <= waiting {
                return;
            }
            changed.await;
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
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
