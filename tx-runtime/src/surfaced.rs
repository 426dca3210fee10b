//! The future of a scope, with the type of its body on the surface.
//!
//! Whether a future is `Send` the compiler learns by looking through the types inside of it, down
//! to the depth that the caller's crate allows. The body of a scope lies some twenty types deep in
//! what runs it, and five functions inside each other would be too deep. Named on the surface, it
//! is looked at there first, and known when it is met again further down.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

/// `work`, which runs a body that makes a future of type `B`.
///
/// In a box: otherwise the future of a function contains those of all the functions inside of it,
/// each several times the size of the next, and the compiler gives up on their layout.
pub(crate) struct Surfaced<W, B> {
    /// The first field is looked at first.
    body: PhantomData<B>,
    work: Pin<Box<W>>,
}

impl<W: Future, B> Surfaced<W, B> {
    /// What `run` makes of `body`.
    pub(crate) fn new<F: FnOnce() -> B>(body: F, run: impl FnOnce(F) -> W) -> Self {
        Self {
            work: Box::pin(run(body)),
            body: PhantomData,
        }
    }
}

/// The body is in the box.
impl<W, B> Unpin for Surfaced<W, B> {}

impl<W: Future, B> Future for Surfaced<W, B> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<W::Output> {
        self.work.as_mut().poll(cx)
    }
}
