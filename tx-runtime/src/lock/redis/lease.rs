//! Locks that are held: renewed until they are opened, or lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Floor;
use super::link::NoAnswer;
use super::script::Record;
use crate::lock::provider::{Fence, LockFailure, LockFuture, LockHold};

/// A held lease. Dropped without being opened, it runs out.
#[derive(Debug)]
pub(super) struct Lease {
    terms: Arc<Terms>,
    fences: Vec<Fence>,
    floor: Floor,
    renewal: Renewal,
}

/// What the holder and the renewal know about the lease.
#[derive(Debug)]
struct Terms {
    record: Record,
    /// Until when the locks are ours, whatever Redis may say; `None` once they are not.
    ///
    /// Redis began to count when it got the question, which was later than we asked.
    ours_until: Mutex<Option<Instant>>,
}

impl Lease {
    /// The lease that a question of the time `asked` was answered with.
    pub(super) fn begin(record: Record, tokens: &[i64], floor: Floor, asked: Instant) -> Self {
        let fences = record.keys().iter().zip(tokens).map(|(key, token)| Fence {
            key: Arc::clone(key),
            token: *token,
        });
        let fences: Vec<Fence> = fences.collect();
        for fence in &fences {
            floor.raise(fence.token);
        }
        let terms = Arc::new(Terms {
            ours_until: Mutex::new(Some(asked + record.lease())),
            record,
        });
        Self {
            renewal: Renewal::start(&terms),
            terms,
            fences,
            floor,
        }
    }

    async fn release(self) -> Result<(), LockFailure> {
        let Self { terms, renewal, .. } = self;
        renewal.stop().await;
        let answer = terms.record.open().await;
        if answer.map_err(LockFailure::failed)? {
            Ok(())
        } else {
            Err(LockFailure::Lost)
        }
    }

    async fn run_out(self) {
        let Self { terms, renewal, .. } = self;
        renewal.stop().await;
        sleep(terms.left()).await;
    }
}

impl LockHold for Lease {
    fn check(&self) -> LockFuture<'_, Result<(), LockFailure>> {
        Box::pin(async {
            if self.terms.renew().await.map_err(LockFailure::failed)? {
                Ok(())
            } else {
                Err(LockFailure::Lost)
            }
        })
    }

    fn open(self: Box<Self>) -> LockFuture<'static, Result<(), LockFailure>> {
        Box::pin(self.release())
    }

    fn leave(self: Box<Self>) -> LockFuture<'static, ()> {
        Box::pin(self.run_out())
    }

    fn fences(&self) -> Vec<Fence> {
        self.fences.clone()
    }

    fn outrun(&self, token: i64) {
        self.floor.raise(token);
    }
}

impl Terms {
    /// Renews the lease; `false` if it is lost.
    async fn renew(&self) -> Result<bool, NoAnswer> {
        let asked = Instant::now();
        if self.left().is_zero() {
            // Redis may be slow to let it expire, but must not give it back to us.
            self.lose();
            return Ok(false);
        }
        let renewed = self.record.renew().await?;
        if renewed {
            self.keep_until(asked + self.record.lease());
        } else {
            self.lose();
        }
        Ok(renewed)
    }

    fn keep_until(&self, later: Instant) {
        let mut ours_until = self.ours_until();
        // Lost, it stays so; and of two renewals, the later one counts.
        if let Some(known) = &mut *ours_until {
            *known = later.max(*known);
        }
    }

    fn lose(&self) {
        if self.ours_until().take().is_some() {
            let keys = self.record.keys().join("`, `");
            tracing::warn!(key = %keys, "the lease of a lock was lost; nothing more is committed under it");
        }
    }

    /// How long the locks are ours yet.
    fn left(&self) -> Duration {
        let ours_until = *self.ours_until();
        ours_until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    fn ours_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.ours_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that renews one lease, and ends with it.
#[derive(Debug)]
struct Renewal(JoinHandle<()>);

impl Renewal {
    fn start(terms: &Arc<Terms>) -> Self {
        Self(tokio::spawn(keep_up(Arc::clone(terms))))
    }

    /// Ends the renewal, and returns when it has ended.
    async fn stop(mut self) {
        self.0.abort();
        // Cancelled, as it should be.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep_up(terms: Arc<Terms>) {
    let lease = terms.record.lease();
    let mut pause = lease / 3;
    loop {
        sleep(pause.min(terms.left())).await;
        pause = match terms.renew().await {
            Ok(true) => lease / 3,
            Ok(false) => return,
            Err(error) => {
                let keys = terms.record.keys().join("`, `");
                tracing::warn!(key = %keys, %error, "a lease could not be renewed");
                lease / 12
            }
        };
    }
}
