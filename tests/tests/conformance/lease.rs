//! Locks whose lease ends when the test says so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tx_runtime::{Fence, LockFailure, LockFuture, LockHold, LockProvider, LockQueue, LockRequest};

/// Keeps locks as a server with leases would; its clones are one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    queue: LockQueue,
    store: Arc<Mutex<Store>>,
}

/// What all processes share.
#[derive(Debug, Default)]
struct Store {
    tokens: i64,
    holders: HashMap<Arc<str>, i64>,
    left: Vec<Arc<str>>,
}

impl Leases {
    /// The same locks as another process sees them.
    pub(crate) fn elsewhere(&self) -> Self {
        Self {
            queue: LockQueue::new(),
            store: Arc::clone(&self.store),
        }
    }

    /// Ends the lease of `key`, whoever has it.
    pub(crate) fn expire(&self, key: &str) {
        let held = self.store().holders.remove(key);
        assert!(held.is_some(), "nobody has a lease of {key}");
    }

    pub(crate) fn is_held(&self, key: &str) -> bool {
        self.store().holders.contains_key(key)
    }

    /// The keys that were left to their leases.
    pub(crate) fn left(&self) -> Vec<String> {
        self.store().left.iter().map(ToString::to_string).collect()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_acquire(&self, keys: &[Arc<str>]) -> Option<Leased> {
        let mut store = self.store();
        if keys.iter().any(|key| store.holders.contains_key(key)) {
            return None;
        }
        store.tokens += 1;
        let token = store.tokens;
        for key in keys {
            store.holders.insert(Arc::clone(key), token);
        }
        drop(store);
        Some(Leased {
            leases: self.clone(),
            keys: keys.to_vec(),
            token,
        })
    }
}

impl LockProvider for Leases {
    fn queue(&self) -> &LockQueue {
        &self.queue
    }

    fn acquire<'a>(
        &'a self,
        request: LockRequest<'a>,
    ) -> LockFuture<'a, Result<Option<Box<dyn LockHold>>, LockFailure>> {
        Box::pin(async move {
            let started = Instant::now();
            loop {
                if let Some(leased) = self.try_acquire(request.keys) {
                    return Ok(Some(Box::new(leased) as Box<dyn LockHold>));
                }
                if started.elapsed() >= request.wait {
                    let holder = Some("somebody elsewhere".to_owned());
                    return Err(LockFailure::Busy { holder });
                }
                sleep(Duration::from_millis(1)).await;
            }
        })
    }
}

#[derive(Debug)]
struct Leased {
    leases: Leases,
    keys: Vec<Arc<str>>,
    token: i64,
}

impl Leased {
    fn is_ours(&self, key: &Arc<str>) -> bool {
        self.leases.store().holders.get(key) == Some(&self.token)
    }
}

impl LockHold for Leased {
    fn check(&self) -> LockFuture<'_, Result<(), LockFailure>> {
        let held = self.keys.iter().all(|key| self.is_ours(key));
        Box::pin(async move { held.then_some(()).ok_or(LockFailure::Lost) })
    }

    fn open(self: Box<Self>) -> LockFuture<'static, Result<(), LockFailure>> {
        Box::pin(async move {
            let held = self.keys.iter().all(|key| self.is_ours(key));
            for key in self.keys.iter().filter(|key| self.is_ours(key)) {
                self.leases.store().holders.remove(key);
            }
            held.then_some(()).ok_or(LockFailure::Lost)
        })
    }

    fn leave(self: Box<Self>) -> LockFuture<'static, ()> {
        self.leases.store().left.extend(self.keys.iter().cloned());
        Box::pin(async {})
    }

    fn fences(&self) -> Vec<Fence> {
        let fence = |key: &Arc<str>| Fence {
            key: Arc::clone(key),
            token: self.token,
        };
        self.keys.iter().map(fence).collect()
    }
}
