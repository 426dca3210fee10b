//! An acquisition under way: Redis is asked until the locks are ours or the wait is over.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::lease::Lease;
use super::script::{Attempt, Record};
use super::{Floor, RedisLocks};
use crate::lock::origin::random;
use crate::lock::provider::{LockFailure, LockRequest};
use crate::lock::queue::LockQueue;

/// The pauses between two questions: the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// What is to be taken, and for whom.
pub(super) struct Claim {
    record: Record,
    floor: Floor,
    queue: LockQueue,
}

impl Claim {
    pub(super) fn new(locks: &RedisLocks, request: &LockRequest<'_>) -> Self {
        let holder = locks.signature.value(request.function);
        Self {
            record: Record::new(&locks.link, &locks.prefix, request, holder, locks.lease),
            floor: locks.floor.clone(),
            queue: locks.queue.clone(),
        }
    }

    /// Takes the locks within `wait`.
    pub(super) async fn take(self, wait: Duration) -> Result<Lease, LockFailure> {
        let started = Instant::now();
        let mut pauses = Pauses::new();
        loop {
            let asked = Instant::now();
            let holder = match self.try_once().await? {
                Attempt::Taken(tokens) => {
                    return Ok(Lease::begin(self.record, &tokens, self.floor, asked));
                }
                Attempt::Busy(holder) => holder,
            };
            let left = wait.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(LockFailure::Busy {
                    holder: Some(holder),
                });
            }
            tokio::time::sleep(pauses.next().min(left)).await;
        }
    }

    async fn try_once(&self) -> Result<Attempt, LockFailure> {
        let doubt = Doubt(Some(self));
        let answer = self.record.take(&self.floor).await;
        let attempt = answer.map_err(LockFailure::failed)?;
        doubt.dispel();
        Ok(attempt)
    }
}

/// Nobody knows yet whether Redis has given the locks. Dropped, it has them opened.
struct Doubt<'a>(Option<&'a Claim>);

impl Doubt<'_> {
    fn dispel(mut self) {
        self.0 = None;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        let Some(Claim { record, queue, .. }) = self.0 else {
            return;
        };
        // Without a runtime, or without Redis, the lease opens them.
        if let Ok(runtime) = Handle::try_current() {
            let record = record.clone();
            let opening = async move { drop(record.open().await) };
            queue.openings().spawn(&runtime, opening);
        }
    }
}

/// Longer and longer, and never in step with others who wait.
struct Pauses(Duration);

impl Pauses {
    fn new() -> Self {
        Self(PAUSES.0)
    }

    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = PAUSES.1.min(pause * 2);
        // Between half of it and all of it.
        let part = u32::try_from(random() % 512).unwrap_or(0);
        pause * (512 + part) / 1024
    }
}
