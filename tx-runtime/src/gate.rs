//! The way to the connections of one pool, whoever comes: every `Db` over it goes through here.
//!
//! A service may make a `Db` for each request, or each of its parts one of its own. They have
//! transactions of their own, but the connections are the same, and so is the database: who of
//! them may have the next connection, who writes, and who has a lock, is decided in one place.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use sqlx::{Database, Pool};
use tokio::sync::Semaphore;

use crate::admission::Admission;
use crate::lock::LockQueue;

/// The gates of the pools that some `Db` is over, by the address of the pool.
///
/// A `Db` holds its pool and its gate, so as long as a gate lives nothing else is at that address.
static GATES: LazyLock<Mutex<HashMap<usize, Weak<Gate>>>> = LazyLock::new(Mutex::default);

#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) admission: Arc<Admission>,
    /// Writers of a single-writer database queue here, in order and without a connection,
    /// instead of sleeping and retrying inside the database.
    pub(crate) writer: Arc<Semaphore>,
    /// The waiting room before the database's own locks.
    pub(crate) locks: LockQueue,
    /// Whether the server's default isolation fixes the snapshot before a lock that comes with
    /// BEGIN; learned from the first such lock.
    locks_first: AtomicBool,
}

impl Gate {
    /// The gate of `pool`. `depth`: how many of its connections one chain holds at once; the
    /// greatest that was asked for counts.
    pub(crate) fn of<DB: Database>(pool: &Pool<DB>, depth: usize) -> Arc<Self> {
        let address = std::ptr::from_ref(pool.options()).addr();
        let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(&address).and_then(Weak::upgrade) {
            gate.admission.declare(depth);
            return gate;
        }
        gates.retain(|_, gate| gate.strong_count() > 0);
        let size = usize::try_from(pool.options().get_max_connections()).unwrap_or(usize::MAX);
        let gate = Arc::new(Self {
            admission: Admission::new(size, depth),
            writer: Arc::new(Semaphore::new(1)),
            locks: LockQueue::new(),
            locks_first: AtomicBool::new(false),
        });
        gates.insert(address, Arc::downgrade(&gate));
        gate
    }

    pub(crate) fn locks_first(&self) -> bool {
        self.locks_first.load(Ordering::Relaxed)
    }

    pub(crate) fn learn_to_lock_first(&self) {
        self.locks_first.store(true, Ordering::Relaxed);
    }
}
