//! Where a refresh is, for whoever wants to see or stop it there.

/// How far a refresh has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It may run, and has done nothing yet.
    Begun,
    /// It knows which day it is, and what it will write.
    Read,
    /// It has written so many rows, and is about to write the next.
    Written {
        /// So many.
        rows: usize,
        /// How many there are.
        of: usize,
    },
}

/// Somebody whom a refresh tells about its steps, and who may hold it up there.
pub trait Pace: Sync {
    /// The refresh has come to `step`, and goes on when this returns.
    fn at(&self, step: Step) -> impl Future<Output = ()> + Send;
}

/// Nobody holds the refresh up.
#[derive(Clone, Copy, Debug)]
pub struct Unpaced;

impl Pace for Unpaced {
    async fn at(&self, _step: Step) {}
}
