//! Cancellation at an exact await point.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Polls `future` until it is ready or was pending `n` times, then drops it.
///
/// Gives the output, if there was one, and the number of polls. A loop over growing `n`
/// until the output appears visits every await point at which a caller can walk away. The
/// future is gone when this returns.
pub async fn poll_n<F: Future>(future: F, n: usize) -> (Option<F::Output>, usize) {
    if n == 0 {
        return (None, 0);
    }
    let mut future = pin!(future);
    let mut polls = 0;
    let output = poll_fn(|context| {
        polls += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls >= n => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    (output, polls)
}

/// Is pending exactly once: an await point of the test's own to be cancelled at.
pub async fn pending_once() {
    let mut waited = false;
    poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
