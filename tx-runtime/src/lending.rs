//! Connections under a lock: the one that the lock lives on, or one of the pool's.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio_util::either::Either;

use crate::dialect::Dialect;
use crate::identity::DbId;
use crate::lease::Lease;
use crate::lock::Held;

/// A connection of `db` for work under `locks`, from whichever gives one first: a lock that
/// lives on a connection which nobody uses, or `pool`.
///
/// While another branch of the chain has the lock's connection, the pool may have no other one
/// to give before the lock opens, and the lock may open no sooner than this work has ended.
pub(crate) fn lease<DB: Dialect, E>(
    db: DbId,
    locks: &[Arc<Held>],
    pool: impl Future<Output = Result<Lease<DB>, E>>,
) -> impl Future<Output = Result<Lease<DB>, E>> {
    if locks.is_empty() {
        Either::Left(pool)
    } else {
        // In a box, so that all those who are under no lock have no room for it.
        Either::Right(Box::pin(lent_or_pooled(db, locks, pool)))
    }
}

async fn lent_or_pooled<DB: Dialect, E>(
    db: DbId,
    locks: &[Arc<Held>],
    pool: impl Future<Output = Result<Lease<DB>, E>>,
) -> Result<Lease<DB>, E> {
    let mut pool = pin!(pool);
    loop {
        if let Some(lease) = lent(db, locks) {
            return Ok(lease);
        }
        let mut returns: Vec<_> = locks.iter().filter_map(|held| held.returned(db)).collect();
        let leased = poll_fn(|cx| {
            if let Poll::Ready(leased) = pool.as_mut().poll(cx) {
                return Poll::Ready(Some(leased));
            }
            let returned = returns.iter_mut().any(|r| r.as_mut().poll(cx).is_ready());
            if returned {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        });
        if let Some(leased) = leased.await {
            return leased;
        }
    }
}

fn lent<DB: Dialect>(db: DbId, locks: &[Arc<Held>]) -> Option<Lease<DB>> {
    let lent = locks.iter().find_map(|held| held.lend(db));
    lent.and_then(Lease::from_lent)
}
