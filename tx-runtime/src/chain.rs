//! The call chain of one async task: an immutable list of scopes, carried per future.
//!
//! Every scope runs its body inside a task-local value that holds its own frame, and the
//! frame points at the caller's. Where code is in a chain is never pushed to or popped from shared
//! state, so `join!`, `select!`, dropped futures and moves between worker threads cannot mix chains.
//! All that is noted down in a frame later are the locks that its scope holds in variables, which
//! protect what any branch of the scope does.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Poll;

use crate::admission::Parked;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::hooks::Hooks;
use crate::identity::DbId;
use crate::level::Level;
use crate::lock::{Adopted, Bound, Held, LockQueue, Wanted};
use crate::site::Site;

tokio::task_local! {
    static CHAIN: Arc<Frame>;
}

/// One entry of the chain.
#[derive(Debug)]
pub(crate) struct Frame {
    link: Link,
    parent: Option<Arc<Self>>,
    /// The earliest one from here outwards.
    deadline: Option<Deadline>,
    /// The locks that its scope holds in variables; rarely any, so there is no room for them.
    in_variables: OnceLock<Box<Mutex<Vec<Weak<Held>>>>>,
}

#[derive(Clone, Debug)]
enum Link {
    Scope(ScopeLink),
    Lock(Arc<Held>),
    /// The scopes around it are over for what runs inside.
    Outside(ScopeLink),
}

/// A scope as its inner calls see it.
#[derive(Clone, Debug)]
pub(crate) struct ScopeLink {
    pub(crate) db: DbId,
    pub(crate) site: Site,
    pub(crate) ground: Ground,
}

/// What statements of a scope stand on.
#[derive(Clone, Debug)]
pub(crate) enum Ground {
    Transaction {
        transaction: Arc<dyn Physical>,
        level: Arc<Level>,
    },
    /// The pool, one statement at a time.
    Autocommit,
    /// Nothing: what runs here is in no scope of any `Db`.
    Outside,
}

/// A transaction of any database; the `Db` it belongs to knows its type.
pub(crate) trait Physical: Any + fmt::Debug + Send + Sync {
    /// The locks that open after its end.
    fn adopted(&self) -> &Adopted;

    /// Whether it has, or is about to have, a connection.
    fn has_begun(&self) -> bool;

    /// What waits for its end.
    fn hooks(&self) -> &Hooks;

    /// Says, as long as the answer lives, that its chain waits for a lock.
    fn park(&self) -> Option<Parked>;
}

impl Ground {
    fn adopted(&self) -> Option<&Adopted> {
        match self {
            Self::Transaction { transaction, .. } => Some(transaction.adopted()),
            Self::Autocommit | Self::Outside => None,
        }
    }
}

/// A transaction and how far into it the chain reaches.
pub(crate) struct Open {
    pub(crate) transaction: Arc<dyn Physical>,
    pub(crate) level: Arc<Level>,
    pub(crate) function: Site,
}

impl ScopeLink {
    pub(crate) fn is_outside(&self) -> bool {
        matches!(self.ground, Ground::Outside)
    }
}

impl Frame {
    pub(crate) fn scope(link: ScopeLink, deadline: Option<Deadline>) -> Arc<Self> {
        Self::over_current(Link::Scope(link), deadline)
    }

    /// An entry that hides the scopes around it from what runs inside. The connections that
    /// these hold stay known.
    pub(crate) fn outside(site: Site) -> Arc<Self> {
        Self::over_current(
            Link::Outside(ScopeLink {
                db: DbId::NONE,
                site,
                ground: Ground::Outside,
            }),
            None,
        )
    }

    /// Entries for locks that are held; `None` if neither they nor a chain are there.
    pub(crate) fn locked(locks: impl IntoIterator<Item = Arc<Held>>) -> Option<Arc<Self>> {
        let over = |parent, held| Some(Self::over(parent, Link::Lock(held), None));
        let outer = CHAIN.try_with(Arc::clone).ok();
        locks.into_iter().fold(outer, over)
    }

    /// The scope of this frame once more, as the innermost entry of the running chain.
    pub(crate) fn again(&self) -> Arc<Self> {
        Self::over_current(self.link.clone(), self.deadline)
    }

    fn over_current(link: Link, own: Option<Deadline>) -> Arc<Self> {
        Self::over(CHAIN.try_with(Arc::clone).ok(), link, own)
    }

    fn over(parent: Option<Arc<Self>>, link: Link, own: Option<Deadline>) -> Arc<Self> {
        let around = parent.as_ref().and_then(|frame| frame.deadline);
        Arc::new(Self {
            link,
            parent,
            deadline: Deadline::earlier(own, around),
            in_variables: OnceLock::new(),
        })
    }

    /// Has `held` count as asked for around whatever its scope does as long as it is held.
    fn keep_in_variable(&self, held: &Arc<Held>) {
        let locks = self.in_variables.get_or_init(Box::default);
        let mut locks = locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|other| other.strong_count() > 0);
        locks.push(Arc::downgrade(held));
    }

    fn in_variables(&self) -> Vec<Arc<Held>> {
        self.in_variables.get().map_or_else(Vec::new, |locks| {
            let locks = locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.iter().filter_map(Weak::upgrade).collect()
        })
    }

    /// Whether its scope's transaction has a connection.
    pub(crate) fn is_open(&self) -> bool {
        matches!(
            &self.link,
            Link::Scope(ScopeLink { ground: Ground::Transaction { transaction, .. }, .. })
                if transaction.has_begun()
        )
    }

    /// The scope that this frame is the entry of.
    pub(crate) fn own_scope(&self) -> Option<&ScopeLink> {
        match &self.link {
            Link::Scope(scope) => Some(scope),
            Link::Lock(_) | Link::Outside(_) => None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// The innermost scope of `db` from this frame outwards.
    #[inline]
    pub(crate) fn find(&self, db: DbId) -> Option<&ScopeLink> {
        self.outwards().find_map(|frame| match &frame.link {
            Link::Scope(scope) if scope.db != db => None,
            Link::Scope(scope) | Link::Outside(scope) => Some(scope),
            Link::Lock(_) => None,
        })
    }

    /// The scopes of every `Db` from this frame outwards, innermost first.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &ScopeLink> {
        self.outwards().filter_map(|frame| match &frame.link {
            Link::Scope(scope) => Some(scope),
            Link::Outside(_) | Link::Lock(_) => None,
        })
    }

    /// Whether a lock was asked for around this frame.
    #[inline]
    pub(crate) fn is_under_lock(&self) -> bool {
        self.outwards()
            .any(|frame| matches!(frame.link, Link::Lock(_)) || frame.in_variables.get().is_some())
    }

    /// The locks that were asked for around this frame, innermost first. What runs here is to be
    /// as fresh as they are.
    pub(crate) fn asked_for(&self) -> Vec<Arc<Held>> {
        let asked_for = self.outwards().flat_map(|frame| match &frame.link {
            Link::Lock(held) => vec![Arc::clone(held)],
            Link::Scope(_) | Link::Outside(_) => frame.in_variables(),
        });
        asked_for.collect()
    }

    /// The locks from this frame outwards, innermost first: those the chain has asked for, and
    /// those its transactions keep.
    pub(crate) fn locks(&self) -> Vec<Arc<Held>> {
        let mut locks: Vec<Arc<Held>> = Vec::new();
        for held in self.outwards().flat_map(Self::own_locks) {
            if !locks.iter().any(|known| Arc::ptr_eq(known, &held)) {
                locks.push(held);
            }
        }
        locks
    }

    fn own_locks(&self) -> Vec<Arc<Held>> {
        match &self.link {
            Link::Lock(held) => vec![Arc::clone(held)],
            Link::Scope(scope) | Link::Outside(scope) => {
                let adopted = scope.ground.adopted();
                let mut locks = adopted.map_or_else(Vec::new, Adopted::all);
                locks.extend(self.in_variables());
                locks
            }
        }
    }

    /// Whether the chain, or a transaction of it, holds `key`, so that who asks for it here is let
    /// in. A lock in a variable lets nobody in: it may be another branch that has it, and that is
    /// to be kept out.
    pub(crate) fn has_locked(&self, queue: &LockQueue, key: &str) -> bool {
        self.outwards().any(|frame| match &frame.link {
            Link::Lock(held) => held.has(queue, key),
            Link::Scope(scope) | Link::Outside(scope) => {
                scope.ground.adopted().is_some_and(|a| a.has(queue, key))
            }
        })
    }

    /// Its transactions, running or suspended, innermost first.
    fn transactions(&self) -> Vec<Arc<dyn Physical>> {
        let open = open(self.outwards());
        open.into_iter().map(|it| it.transaction).collect()
    }

    #[inline]
    fn outwards(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |frame| frame.parent.as_deref())
    }
}

/// The transactions of `frames`, each as deep as the first frame that is in it.
fn open<'f>(frames: impl Iterator<Item = &'f Frame>) -> Vec<Open> {
    let mut seen: Vec<Open> = Vec::new();
    for frame in frames {
        if let Link::Scope(ScopeLink {
            ground: Ground::Transaction { transaction, level },
            site,
            ..
        }) = &frame.link
            && !seen
                .iter()
                .any(|known| Arc::ptr_eq(&known.transaction, transaction))
        {
            seen.push(Open {
                transaction: Arc::clone(transaction),
                level: Arc::clone(level),
                function: *site,
            });
        }
    }
    seen
}

/// `held` is in a variable now, in the innermost scope of the running future.
///
/// Nobody says what is done under such a lock. What is done beside it counts, until it is let go
/// of: a statement that ran under it unnoticed would be committed behind its opening.
pub(crate) fn keep_in_variable(held: &Arc<Held>) {
    current(|frame| {
        let scope = frame.and_then(|frame| {
            let mut frames = frame.outwards();
            frames.find(|frame| !matches!(frame.link, Link::Lock(_)))
        });
        if let Some(scope) = scope.filter(|scope| matches!(scope.link, Link::Scope(_))) {
            scope.keep_in_variable(held);
        }
    });
}

/// The transactions, running or suspended, that the running future is in, innermost first.
pub(crate) fn open_transactions() -> Vec<Open> {
    current(|frame| {
        let frames = frame.into_iter().flat_map(Frame::outwards);
        open(frames.take_while(|frame| !matches!(frame.link, Link::Outside(_))))
    })
}

/// Looks at the chain of the running future; without changing it, since it is borrowed meanwhile.
pub(crate) fn current<T>(look: impl Fn(Option<&Frame>) -> T) -> T {
    let looked = CHAIN.try_with(|frame| look(Some(frame)));
    looked.unwrap_or_else(|_| look(None))
}

/// Awaits a lock, and says meanwhile of all connections of the chain that it does.
pub(crate) async fn parked<T>(lock: impl Future<Output = T>) -> T {
    let transactions = transactions();
    let _parked: Vec<_> = transactions.iter().filter_map(|t| t.park()).collect();
    lock.await
}

/// Takes with `take` what the chain lacks of the locks that are `wanted`; `None` if it comes to
/// lack nothing.
///
/// While this branch waits for a lock, another one may take it for the transaction of both,
/// which lets go of it only after this branch has ended.
pub(crate) async fn acquire<T, F>(
    mut wanted: Wanted,
    take: impl Fn(Wanted) -> F,
) -> Result<Option<(Wanted, T)>, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    loop {
        wanted = wanted.still(has_locked);
        if wanted.is_held_already() {
            return Ok(None);
        }
        let taken = parked(unless_adopted(&wanted, take(wanted.clone()))).await;
        if let Some(taken) = taken {
            return Ok(Some((wanted, taken?)));
        }
    }
}

/// Awaits `lock`, unless a transaction of the chain takes over one that is `wanted` meanwhile.
async fn unless_adopted<T>(wanted: &Wanted, lock: impl Future<Output = T>) -> Option<T> {
    let transactions = transactions();
    let mut lock = pin!(lock);
    loop {
        let adopted = transactions.iter().map(|it| it.adopted());
        let mut changes: Vec<_> = adopted.map(|it| Box::pin(it.changed())).collect();
        if wanted.is_outdated(has_locked) {
            return None;
        }
        let taken = poll_fn(|cx| match lock.as_mut().poll(cx) {
            Poll::Ready(taken) => Poll::Ready(Some(taken)),
            Poll::Pending if changes.iter_mut().any(|it| it.as_mut().poll(cx).is_ready()) => {
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        });
        if let Some(taken) = taken.await {
            return Some(taken);
        }
    }
}

fn transactions() -> Vec<Arc<dyn Physical>> {
    current(|frame| frame.map_or_else(Vec::new, Frame::transactions))
}

/// Whether the chain of the running future holds `key`.
pub(crate) fn has_locked(queue: &LockQueue, key: &str) -> bool {
    current(|frame| frame.is_some_and(|frame| frame.has_locked(queue, key)))
}

/// Of the locks that are asked for, those that the chain of the running future holds.
pub(crate) fn held_already(lock: &Bound) -> Vec<Arc<Held>> {
    let mut held = locks();
    held.retain(|candidate| lock.is_among(candidate));
    held
}

/// The locks that the chain of the running future holds, innermost first.
pub(crate) fn locks() -> Vec<Arc<Held>> {
    current(|frame| frame.map_or_else(Vec::new, Frame::locks))
}

/// Of these, the ones that no transaction of the chain keeps.
pub(crate) fn locks_of_nobody() -> Vec<Arc<Held>> {
    let kept: Vec<_> = transactions()
        .iter()
        .flat_map(|t| t.adopted().all())
        .collect();
    let mut locks = locks();
    locks.retain(|held| !kept.iter().any(|other| Arc::ptr_eq(held, other)));
    locks
}

/// Calls `body` with `frame` as the innermost entry of its chain.
pub(crate) fn call_within<T>(frame: &Arc<Frame>, body: impl FnOnce() -> T) -> T {
    CHAIN.sync_scope(Arc::clone(frame), body)
}

/// Runs `body` with `frame` as the innermost entry of its chain.
pub(crate) async fn within<T>(frame: &Arc<Frame>, body: impl AsyncFnOnce() -> T) -> T {
    // The call itself belongs inside as well: a closure that is no `async` one looks its
    // scope up before it returns its future.
    let future = call_within(frame, || body());
    CHAIN.scope(Arc::clone(frame), future).await
}
