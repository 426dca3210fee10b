//! Entering a scope under a lock: the lock first, then whatever the mode says.

use std::sync::Arc;

use super::{Position, Scope, holding};
use crate::chain::{self, Frame, acquire, parked};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::lock::{Bound, Doing, Held, Wanted};
use crate::operation::ServerLocks;
use crate::options::TransactionOptions;
use crate::propagation::Entry;
use crate::source::{Purpose, Source};

/// Enters a scope under `lock`, as far as the chain does not hold it already.
///
/// Locks that live on the `Db`'s own connections are taken by the transaction that the scope
/// begins or joins, and open with its end; all others are taken before.
pub(super) async fn enter<DB: Dialect>(
    source: &Arc<Source<DB>>,
    options: &TransactionOptions,
    lock: Bound,
) -> Result<(Scope<DB>, Option<Doing>), Error> {
    let wanted = lock.wanted(options.site, chain::has_locked)?;
    if wanted.is_held_already() {
        return Ok((within(source, options, &lock, None)?, None));
    }
    let position = chain::current(|frame| Position::nearest(source, frame));
    match (options.propagation.entry(position.is_some()), position) {
        // What is refused in any case must not wait for a lock.
        (Entry::RefuseInside | Entry::RefuseWithout, _) => {
            Ok((Scope::enter(source, options)?, None))
        }
        (Entry::Join | Entry::Savepoint, Some(position)) => {
            join(source, options, &lock, wanted, position).await
        }
        (Entry::Begin | Entry::BeginUnderLock, _) => {
            // Whoever has the lock may wait for this chain to end, as a second writer would.
            let holding = chain::current(|frame| holding(source, frame));
            source.check_writer(options.site, Purpose::Transaction, &holding)?;
            if wanted.lives_on(source.id()) {
                return begin(source, options, &lock, wanted).await;
            }
            around(source, options, &lock, wanted).await
        }
        _ => around(source, options, &lock, wanted).await,
    }
}

/// The lock first, then the scope.
async fn around<DB: Dialect>(
    source: &Arc<Source<DB>>,
    options: &TransactionOptions,
    lock: &Bound,
    wanted: Wanted,
) -> Result<(Scope<DB>, Option<Doing>), Error> {
    let Some((_, held)) = acquire(wanted, Wanted::take).await? else {
        return Ok((within(source, options, lock, None)?, None));
    };
    let doing = Doing::under(held);
    let scope = within(source, options, lock, doing.held())?;
    scope.is_all_under(doing.held());
    Ok((scope, Some(doing)))
}

/// The scope, with the lock in its chain and its transaction: what was `taken` for it, and what
/// the chain held already.
fn within<DB: Dialect>(
    source: &Arc<Source<DB>>,
    options: &TransactionOptions,
    lock: &Bound,
    taken: Option<&Arc<Held>>,
) -> Result<Scope<DB>, Error> {
    let held = chain::held_already(lock).into_iter().chain(taken.cloned());
    match Frame::locked(held) {
        Some(frame) => chain::call_within(&frame, || Scope::enter(source, options)),
        None => Scope::enter(source, options),
    }
}

/// The lock comes with BEGIN, on the connection of the scope's own transaction.
async fn begin<DB: Dialect>(
    source: &Arc<Source<DB>>,
    options: &TransactionOptions,
    lock: &Bound,
    wanted: Wanted,
) -> Result<(Scope<DB>, Option<Doing>), Error> {
    let Some((wanted, (held, left))) = acquire(wanted, Wanted::take_turns).await? else {
        return Ok((within(source, options, lock, None)?, None));
    };
    let scope = within(source, options, lock, Some(&held))?;
    if let Some(transaction) = scope.owned() {
        let root = transaction.root();
        let locks = ServerLocks::new(wanted.keys(), left);
        let taken = transaction.take_locks(root, options.site, locks, &held, false);
        taken.await?;
    }
    Ok((scope, Some(Doing::under(held))))
}

/// The lock goes over to the transaction that is joined, and opens after its end.
async fn join<DB: Dialect>(
    source: &Arc<Source<DB>>,
    options: &TransactionOptions,
    lock: &Bound,
    wanted: Wanted,
    position: Position<DB>,
) -> Result<(Scope<DB>, Option<Doing>), Error> {
    let Position {
        transaction, level, ..
    } = position;
    level.check(options.site)?;
    // Before the wait, which would be for nothing.
    let text = wanted.text();
    let begun = transaction.refuse_late_lock(&level, options.site, &text);
    let begun = begun.await?;
    if !wanted.lives_on(source.id()) {
        return around(source, options, lock, wanted).await;
    }
    let Some((wanted, (held, left))) = acquire(wanted, Wanted::take_turns).await? else {
        return Ok((within(source, options, lock, None)?, None));
    };
    let locks = ServerLocks::new(wanted.keys(), left);
    let taken = transaction.take_locks(&level, options.site, locks, &held, begun);
    parked(taken).await?;
    Ok((
        within(source, options, lock, Some(&held))?,
        Some(Doing::under(held)),
    ))
}
