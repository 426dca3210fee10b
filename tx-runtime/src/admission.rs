//! Who gets a connection, in which order, so that a nested transaction always finds one.
//!
//! A chain that already holds connections and waits for a further one can wait for ever if
//! all the others do the same. Ordered admission by nesting level rules that out. Let the
//! pool have `size` connections and let chains hold at most `depth` of them at once (declared
//! with `nesting_depth`, raised when a deeper chain is seen). A request is of level *k* if its
//! chain holds *k* connections, or waits for them in another branch. For every level *j*, at most `size - (depth - 1 - j)`
//! connections are out to requests of levels up to *j*.
//!
//! **Why somebody always goes on.** Suppose every chain waits. Take one that waits at the
//! highest level *k*. All connections that are out were given to requests of levels below
//! *k*, so there are at most `size - (depth - k)` of them: fewer than the limit of every
//! level from *k* on. Its request is granted, so it does not wait.
//!
//! **Locks.** A chain may also wait for a named lock of this process with connections in its
//! hands, and the chain that has the lock may wait for its first connection. Against a chain
//! that holds a lock, connections whose chains wait for locks therefore do not count, as long
//! as one is left at all. What this cannot mend is a chain that needs more than one connection
//! under the lock when those who wait for the lock have all the others: it fails after the
//! bounded wait for a connection, unless `nesting_depth` counts its connections as well.
//!
//! The proof covers connections taken through any `Db` over the pool. Connections taken from
//! `db.pool()` directly only delay it, as long as nobody holds one of those while entering a
//! scope. Before a deeper chain was first seen, chains admitted under the smaller depth may
//! block each other; that case is detected, and the request that would close the circle is
//! refused.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Identifies a physical transaction, or a lock, among the holders of connections.
pub(crate) type Holder = usize;

/// The waiting room in front of one pool.
#[derive(Debug)]
pub(crate) struct Admission {
    size: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    depth: usize,
    /// Connections that are out, by the level they were asked for at.
    granted: Vec<usize>,
    /// Those of them whose chains wait for a lock.
    parked: Vec<usize>,
    waiting: Vec<VecDeque<Waiter>>,
    /// Holders that cannot end before a waiting request of theirs is granted.
    stuck: HashMap<Holder, usize>,
}

#[derive(Debug)]
struct Waiter {
    grant: oneshot::Sender<Permit>,
    under_lock: bool,
}

/// The right to hold one connection.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    /// The level it was granted at; `None` once it is off the books.
    level: Option<usize>,
}

/// The pool can never give what was asked for.
#[derive(Debug)]
pub(crate) struct Impossible {
    pub(crate) needed: usize,
}

impl Admission {
    pub(crate) fn new(size: usize, depth: usize) -> Arc<Self> {
        let size = size.max(1);
        Arc::new(Self {
            size,
            state: Mutex::new(State {
                depth: depth.clamp(1, size),
                granted: Vec::new(),
                parked: Vec::new(),
                waiting: Vec::new(),
                stuck: HashMap::new(),
            }),
        })
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// One more says how many connections a chain holds at once; the greatest number counts.
    pub(crate) fn declare(&self, depth: usize) {
        let mut state = self.state();
        state.depth = state.depth.max(depth.min(self.size));
    }

    /// The level of the innermost transactions: who asks at it for one connection, and for
    /// nothing else meanwhile, is always served some time.
    pub(crate) fn innermost_level(&self) -> usize {
        self.state().depth - 1
    }

    /// How many connections nobody at `level` is given, because they are for those further inside.
    pub(crate) fn kept_from(&self, level: usize) -> usize {
        self.state().depth.saturating_sub(level + 1)
    }

    /// Waits for the right to one more connection, for a request inside `level` transactions and
    /// locks of which `holders` have theirs already. `under_lock`: the chain holds a named lock.
    ///
    /// Dropping the future gives up the place in the queue.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        level: usize,
        holders: &[Holder],
        under_lock: bool,
    ) -> Result<Permit, Impossible> {
        if level >= self.size {
            return Err(Impossible { needed: level + 1 });
        }
        let (granted, _stuck) = {
            let mut state = self.state();
            state.reach(level);
            if state.may_grant(self.size, level, under_lock) {
                return Ok(self.grant(&mut state, level));
            }
            if state.would_close_circle(holders) {
                return Err(Impossible { needed: level + 1 });
            }
            let (grant, granted) = oneshot::channel();
            state.waiting[level].push_back(Waiter { grant, under_lock });
            (granted, Stuck::mark(self, &mut state, holders))
        };
        // The sender lives in the queue until it is used, and the queue in `self`.
        granted.await.map_err(|_| Impossible { needed: level + 1 })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grant(self: &Arc<Self>, state: &mut State, level: usize) -> Permit {
        state.granted[level] += 1;
        Permit {
            admission: Arc::clone(self),
            level: Some(level),
        }
    }

    fn serve(self: &Arc<Self>, state: &mut State) {
        for level in (0..state.waiting.len()).rev() {
            while let Some(waiter) = state.next_waiter(self.size, level) {
                let permit = self.grant(state, level);
                if let Err(mut unwanted) = waiter.grant.send(permit) {
                    // Its drop would take the lock that is held here.
                    unwanted.level = None;
                    state.granted[level] -= 1;
                }
            }
        }
    }

    /// Says that the chain of a connection granted at `level` waits for a lock.
    pub(crate) fn park(self: &Arc<Self>, level: usize) -> Parked {
        let mut state = self.state();
        state.reach(level);
        state.parked[level] += 1;
        self.serve(&mut state);
        Parked {
            admission: Arc::clone(self),
            level,
        }
    }
}

impl State {
    fn reach(&mut self, level: usize) {
        if self.granted.len() <= level {
            self.granted.resize(level + 1, 0);
            self.parked.resize(level + 1, 0);
            self.waiting.resize_with(level + 1, VecDeque::new);
        }
        if level >= self.depth {
            tracing::warn!(
                declared = self.depth,
                reached = level + 1,
                "a call chain nests its transactions deeper than declared; set nesting_depth on the Db"
            );
            self.depth = level + 1;
        }
    }

    fn may_grant(&self, size: usize, level: usize, under_lock: bool) -> bool {
        let out = |level: usize| {
            let granted = self.granted.get(level).copied().unwrap_or(0);
            let parked = self.parked.get(level).copied().unwrap_or(0);
            granted - if under_lock { parked.min(granted) } else { 0 }
        };
        let mut counted: usize = (0..level).map(out).sum();
        let within_limits = (level..self.depth).all(|j| {
            counted += out(j);
            counted < size.saturating_sub(self.depth - 1 - j)
        });
        within_limits && self.granted.iter().sum::<usize>() < size
    }

    /// Takes the first in line at `level` who may be granted a connection now.
    fn next_waiter(&mut self, size: usize, level: usize) -> Option<Waiter> {
        if self.may_grant(size, level, false) {
            return self.waiting[level].pop_front();
        }
        if !self.may_grant(size, level, true) {
            return None;
        }
        let line = &mut self.waiting[level];
        let first = line.iter().position(|waiter| waiter.under_lock)?;
        line.remove(first)
    }

    /// Whether every connection that is out would wait for this request.
    fn would_close_circle(&self, holders: &[Holder]) -> bool {
        let newly_stuck = holders
            .iter()
            .filter(|holder| !self.stuck.contains_key(holder))
            .count();
        let out: usize = self.granted.iter().sum();
        !holders.is_empty() && self.stuck.len() + newly_stuck >= out
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(level) = self.level else { return };
        let mut state = self.admission.state();
        state.granted[level] -= 1;
        self.admission.serve(&mut state);
    }
}

/// Marks a connection as one whose chain waits for a lock.
#[derive(Debug)]
pub(crate) struct Parked {
    admission: Arc<Admission>,
    level: usize,
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.admission.state().parked[self.level] -= 1;
    }
}

/// Marks a chain's holders as stuck while one of its requests waits.
struct Stuck<'a> {
    admission: &'a Admission,
    holders: &'a [Holder],
}

impl<'a> Stuck<'a> {
    fn mark(admission: &'a Admission, state: &mut State, holders: &'a [Holder]) -> Self {
        for holder in holders {
            *state.stuck.entry(*holder).or_default() += 1;
        }
        Self { admission, holders }
    }
}

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        for holder in self.holders {
            if let Some(count) = state.stuck.get_mut(holder) {
                *count -= 1;
                if *count == 0 {
                    state.stuck.remove(holder);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Admission;

    #[tokio::test]
    async fn one_connection_is_kept_for_nested_requests() {
        let admission = Admission::new(4, 2);
        let outer = [
            admission.admit(0, &[], false).await.unwrap(),
            admission.admit(0, &[], false).await.unwrap(),
            admission.admit(0, &[], false).await.unwrap(),
        ];
        let fourth = admission.admit(0, &[], false);
        tokio::pin!(fourth);
        assert!(futures_util::poll!(&mut fourth).is_pending());
        let nested = admission.admit(1, &[1], false).await.unwrap();
        drop(nested);
        assert!(futures_util::poll!(&mut fourth).is_pending());
        drop(outer);
        fourth.await.unwrap();
    }

    #[tokio::test]
    async fn a_pool_of_one_refuses_nesting_at_once() {
        let admission = Admission::new(1, 2);
        let _outer = admission.admit(0, &[], false).await.unwrap();
        assert_eq!(admission.admit(1, &[1], false).await.unwrap_err().needed, 2);
    }

    #[tokio::test]
    async fn a_circle_among_undeclared_depths_is_refused() {
        let admission = Admission::new(3, 2);
        let _a = admission.admit(0, &[], false).await.unwrap();
        let _b = admission.admit(0, &[], false).await.unwrap();
        let _a2 = admission.admit(1, &[1], false).await.unwrap();
        let b_waits = admission.admit(1, &[2], false);
        tokio::pin!(b_waits);
        assert!(futures_util::poll!(&mut b_waits).is_pending());
        assert!(admission.admit(2, &[1, 11], false).await.is_err());
    }

    #[tokio::test]
    async fn a_dropped_waiter_gives_its_turn_away() {
        let admission = Admission::new(2, 2);
        let outer = admission.admit(0, &[], false).await.unwrap();
        {
            let gone = admission.admit(0, &[], false);
            tokio::pin!(gone);
            assert!(futures_util::poll!(&mut gone).is_pending());
        }
        let next = admission.admit(0, &[], false);
        tokio::pin!(next);
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(outer);
        next.await.unwrap();
    }

    #[tokio::test]
    async fn those_who_wait_for_a_lock_leave_a_connection_to_its_holder() {
        let admission = Admission::new(3, 2);
        let _waiting = [
            admission.admit(0, &[], false).await.unwrap(),
            admission.admit(0, &[], false).await.unwrap(),
        ];
        let holder = admission.admit(0, &[], true);
        tokio::pin!(holder);
        assert!(futures_util::poll!(&mut holder).is_pending());
        let first = admission.park(0);
        let other = admission.admit(0, &[], false);
        tokio::pin!(other);
        assert!(futures_util::poll!(&mut other).is_pending());
        assert!(futures_util::poll!(&mut holder).is_ready());
        drop(first);
        assert!(futures_util::poll!(&mut other).is_pending());
    }
}
