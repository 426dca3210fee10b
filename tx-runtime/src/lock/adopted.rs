//! The locks that a transaction relies on: they open after its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::held::Held;
use super::provider::Share;
use super::queue::LockQueue;
use crate::identity::DbId;
use crate::site::Site;

/// The locks of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Adopted {
    locks: Mutex<Vec<Adoption>>,
    /// Whether there is one that the transaction has not been prepared for.
    unsettled: AtomicBool,
    /// Told whenever another one comes.
    changed: Notify,
}

#[derive(Clone, Debug)]
struct Adoption {
    held: Arc<Held>,
    standing: Standing,
    /// Whether the transaction is all that is done under the lock.
    whole: bool,
    /// Whether its COMMIT has recorded that it is done.
    recording: bool,
}

impl Adoption {
    fn new(held: Arc<Held>, standing: Standing) -> Self {
        Self {
            held,
            standing,
            whole: false,
            recording: false,
        }
    }
}

/// How far the transaction is prepared for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Not yet. `late`: taken when statements had run already, whose snapshot may be older
    /// than the lock.
    Unsettled { late: bool },
    /// Prepared. `in_savepoint`: what prepared it goes with a savepoint that is rolled back.
    Settled { in_savepoint: bool },
    /// On the transaction's own connection, whose COMMIT opens it.
    Own,
}

/// A lock that the transaction has yet to be prepared for.
pub(crate) struct Unsettled {
    pub(crate) held: Arc<Held>,
    pub(crate) late: bool,
}

impl Adopted {
    /// Takes the locks over. `begun`: whether statements have run already.
    pub(crate) fn adopt(&self, locks: &[Arc<Held>], begun: bool) {
        let mut adopted = self.lock();
        for held in locks {
            if adopted.iter().any(|known| Arc::ptr_eq(&known.held, held)) {
                continue;
            }
            let standing = Standing::Unsettled { late: begun };
            adopted.push(Adoption::new(Arc::clone(held), standing));
            self.changed.notify_waiters();
        }
        self.recount(&adopted);
    }

    /// As [`adopt`](Self::adopt), for a lock that was taken on the transaction's own
    /// connection.
    pub(crate) fn adopt_own(&self, held: Arc<Held>) {
        let mut adopted = self.lock();
        adopted.retain(|adoption| !Arc::ptr_eq(&adoption.held, &held));
        adopted.push(Adoption::new(held, Standing::Own));
        self.recount(&adopted);
        self.changed.notify_waiters();
    }

    /// The transaction is all that is done under `held`.
    pub(crate) fn is_whole(&self, held: &Arc<Held>) {
        for adoption in &mut *self.lock() {
            adoption.whole |= Arc::ptr_eq(&adoption.held, held);
        }
    }

    /// What a transaction of `db` has to send with its COMMIT, so that it fails if one of the
    /// locks is lost.
    pub(crate) fn proofs(&self, db: DbId, read_only: bool) -> String {
        let mut proofs = Vec::new();
        for adoption in &mut *self.lock() {
            let share = match adoption.whole && adoption.held.may_be_done() {
                _ if read_only => Share::Reads,
                true => Share::Whole,
                false => Share::Part,
            };
            let proof = adoption.held.proof(db, share);
            adoption.recording = proof.is_some() && share == Share::Whole;
            proofs.extend(proof);
        }
        proofs.join("; ")
    }

    /// Those that do not prove themselves in that way.
    pub(crate) fn unproved(&self, db: DbId) -> Vec<Arc<Held>> {
        let mut all = self.all();
        all.retain(|held| held.proof(db, Share::Reads).is_none());
        all
    }

    /// Resolves when another lock has come.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        !self.unsettled.load(Ordering::Acquire)
    }

    /// The locks that the transaction has yet to be prepared for.
    pub(crate) fn unsettled(&self) -> Vec<Unsettled> {
        let adopted = self.lock();
        let unsettled = adopted.iter().filter_map(|adoption| {
            let Standing::Unsettled { late } = adoption.standing else {
                return None;
            };
            let held = Arc::clone(&adoption.held);
            Some(Unsettled { held, late })
        });
        unsettled.collect()
    }

    /// The transaction is prepared for `held`. `in_savepoint`: until a savepoint ends.
    pub(crate) fn settle(&self, held: &Arc<Held>, in_savepoint: bool) {
        let mut adopted = self.lock();
        for adoption in &mut *adopted {
            if Arc::ptr_eq(&adoption.held, held) {
                adoption.standing = Standing::Settled { in_savepoint };
            }
        }
        self.recount(&adopted);
    }

    /// A savepoint has ended, maybe with what was prepared in it.
    pub(crate) fn unsettle(&self) {
        let mut adopted = self.lock();
        for adoption in &mut *adopted {
            if adoption.standing == (Standing::Settled { in_savepoint: true }) {
                adoption.standing = Standing::Unsettled { late: false };
            }
        }
        self.recount(&adopted);
    }

    pub(crate) fn has_settled(&self, held: &Arc<Held>) -> bool {
        let adopted = self.lock();
        let known = adopted.iter().find(|known| Arc::ptr_eq(&known.held, held));
        known.is_some_and(|known| !matches!(known.standing, Standing::Unsettled { .. }))
    }

    /// Lets go of a lock that nothing may run under here.
    pub(crate) fn refuse(&self, held: &Arc<Held>) {
        let mut adopted = self.lock();
        adopted.retain(|adoption| !Arc::ptr_eq(&adoption.held, held));
        self.recount(&adopted);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Held>> {
        let adopted = self.lock();
        adopted.iter().map(|a| Arc::clone(&a.held)).collect()
    }

    /// The locks on the transaction's own connection (`own`), or all the others.
    pub(crate) fn those(&self, own: bool) -> Vec<Arc<Held>> {
        let adopted = self.lock();
        let wanted = adopted
            .iter()
            .filter(|adoption| (adoption.standing == Standing::Own) == own);
        wanted.map(|adoption| Arc::clone(&adoption.held)).collect()
    }

    pub(crate) fn has(&self, queue: &LockQueue, key: &str) -> bool {
        self.lock().iter().any(|a| a.held.has(queue, key))
    }

    /// Whether the transaction has committed is unknown.
    pub(crate) fn doubt(&self) {
        for adoption in &*self.lock() {
            adoption.held.doubt();
        }
    }

    /// The transaction of `owner` has ended: the locks, of which the last reference opens each.
    pub(crate) fn let_go(&self, owner: Site, kept: bool) -> Vec<Arc<Held>> {
        let adopted = std::mem::take(&mut *self.lock());
        self.unsettled.store(false, Ordering::Release);
        let ended = adopted.into_iter().map(|adoption| {
            let held = adoption.held;
            if adoption.standing == Standing::Own {
                held.end();
            }
            if !kept {
                held.rolled_back(owner);
            } else if adoption.recording {
                held.concluded();
            }
            held
        });
        ended.collect()
    }

    fn recount(&self, adopted: &[Adoption]) {
        let unsettled = adopted
            .iter()
            .any(|adoption| matches!(adoption.standing, Standing::Unsettled { .. }));
        self.unsettled.store(unsettled, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Adoption>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
