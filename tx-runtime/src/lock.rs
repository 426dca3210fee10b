//! In-process locks: named, first come first served, held by a call chain.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// How long a lock is waited for.
const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// The locks of one `Db`, by name.
#[derive(Debug, Default)]
pub(crate) struct LocalLocks {
    queues: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
}

/// A lock that is held; dropping the last reference opens it.
#[derive(Debug)]
pub(crate) struct Held {
    locks: Arc<LocalLocks>,
    key: Arc<str>,
    permit: Option<OwnedSemaphorePermit>,
}

impl LocalLocks {
    pub(crate) async fn take(self: &Arc<Self>, key: &str) -> Result<Held, Error> {
        let started = Instant::now();
        let key: Arc<str> = key.into();
        let queue = Arc::clone(
            self.queues()
                .entry(Arc::clone(&key))
                .or_insert_with(|| Arc::new(Semaphore::new(1))),
        );
        let mut held = Held {
            locks: Arc::clone(self),
            key,
            permit: None,
        };
        match tokio::time::timeout(WAIT_LIMIT, queue.acquire_owned()).await {
            Ok(Ok(permit)) => {
                held.permit = Some(permit);
                Ok(held)
            }
            _ => Err(Error::LockTimeout {
                key: held.key.to_string(),
                waited: started.elapsed(),
            }),
        }
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Semaphore>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    pub(crate) fn is(&self, locks: &Arc<LocalLocks>, key: &str) -> bool {
        Arc::ptr_eq(&self.locks, locks) && &*self.key == key
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.permit = None;
        let mut queues = self.locks.queues();
        // The map's own reference is the last one when nobody holds or waits.
        if queues
            .get(&self.key)
            .is_some_and(|queue| Arc::strong_count(queue) == 1)
        {
            queues.remove(&self.key);
        }
    }
}
