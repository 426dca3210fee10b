//! Whether a panic came out of a scope's body.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// Notes a panic that comes out of the body it polls.
///
/// That the thread panics when a scope is dropped does not say so: a branch of a `join!` is
/// dropped by the panic of another.
#[derive(Default)]
pub(super) struct PanicWatch(AtomicBool);

impl PanicWatch {
    /// `body`, watched.
    pub(super) fn over<'a, F: Future>(&'a self, body: Pin<&'a mut F>) -> Watched<'a, F> {
        Watched { watch: self, body }
    }

    pub(super) fn has_seen_one(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A body under watch. A type of its own, since every layer of futures around a body counts
/// against the depth of types that the compiler allows in the caller's crate.
pub(super) struct Watched<'a, F> {
    watch: &'a PanicWatch,
    body: Pin<&'a mut F>,
}

impl<F: Future> Future for Watched<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _noting = Noting(&self.watch.0);
        self.body.as_mut().poll(cx)
    }
}

struct Noting<'a>(&'a AtomicBool);

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
