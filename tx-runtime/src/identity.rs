//! Which `Db` something belongs to.

use std::sync::atomic::{AtomicUsize, Ordering};

static NEXT: AtomicUsize = AtomicUsize::new(1);

/// The identity of one `Db` and its clones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbId(usize);

impl DbId {
    /// What no `Db` has.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn next() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
