//! Locks that are held, until the last who relies on them lets go.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::provider::{Conclusion, Fence, LockFailure, LockFuture, LockHold, Share};
use super::queue::{LockQueue, Turn};
use crate::cleanup::{Cleanups, Running};
use crate::error::Error;
use crate::identity::DbId;
use crate::site::Site;

/// How long a lock that nothing else limits stays shut after a COMMIT whose outcome is unknown.
pub(crate) const DOUBT_LIMIT: Duration = Duration::from_secs(30);

/// Locks taken together. Dropped, they open.
#[derive(Debug)]
pub(crate) struct Held {
    function: Site,
    turns: Vec<Turn>,
    beyond: Beyond,
    /// Set when a transaction under the locks ended without a known outcome.
    in_doubt: AtomicBool,
    /// Set when the transaction on whose connection the locks were has ended.
    ended: AtomicBool,
    /// How what was done under the locks has ended, as far as that is known.
    conclusion: Mutex<Option<Conclusion>>,
    /// What was dropped under the locks and is still being cleaned up.
    orphans: Arc<Cleanups>,
    /// Opening may be left to a drop outside of any runtime.
    runtime: Option<Handle>,
    /// Open as long as the locks are held.
    _span: tracing::Span,
}

/// What keeps the locks beyond this process.
#[derive(Debug)]
pub(crate) enum Beyond {
    Nothing,
    /// The connection of the transaction they were taken with, which opens them at its end.
    Connection,
    Provider(Box<dyn LockHold>),
}

impl Held {
    pub(crate) fn new(function: Site, turns: Vec<Turn>, beyond: Beyond) -> Arc<Self> {
        let span =
            tracing::debug_span!("lock.hold", key = %keys(&turns), function = function.name());
        Arc::new(Self {
            function,
            turns,
            beyond,
            in_doubt: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            conclusion: Mutex::default(),
            orphans: Arc::default(),
            runtime: Handle::try_current().ok(),
            _span: span,
        })
    }

    pub(crate) fn has(&self, queue: &LockQueue, key: &str) -> bool {
        self.turns
            .iter()
            .any(|turn| turn.queue().is(queue) && &**turn.key() == key)
    }

    /// Who has taken them.
    pub(crate) fn function(&self) -> Site {
        self.function
    }

    pub(crate) fn keys(&self) -> String {
        keys(&self.turns)
    }

    /// The numbers that a transaction of `db` has to write down.
    pub(crate) fn fences(&self, db: DbId) -> Vec<Fence> {
        match &self.beyond {
            Beyond::Provider(hold) if hold.proof(db, Share::Reads).is_none() => hold.fences(),
            _ => Vec::new(),
        }
    }

    /// What a transaction of `db` has to send with its COMMIT instead.
    pub(crate) fn proof(&self, db: DbId, share: Share) -> Option<String> {
        match &self.beyond {
            Beyond::Provider(hold) => hold.proof(db, share),
            Beyond::Nothing | Beyond::Connection => None,
        }
    }

    /// Takes down how what was done under the locks has ended; the last word counts.
    pub(crate) fn record(&self, conclusion: Conclusion) {
        *self.conclusion() = Some(conclusion);
    }

    /// Whether nothing under the locks is known to have failed.
    pub(crate) fn may_be_done(&self) -> bool {
        matches!(*self.conclusion(), None | Some(Conclusion::Done))
    }

    /// The end of a transaction that a conclusion has relied on.
    pub(crate) fn rolled_back(&self, by: Site) {
        let mut conclusion = self.conclusion();
        if *conclusion == Some(Conclusion::Done) {
            let text = format!("the transaction of {by}, which it had joined, was rolled back");
            *conclusion = Some(Conclusion::Failed(text));
        }
    }

    /// The conclusion has been committed by a transaction.
    pub(crate) fn concluded(&self) {
        if let Beyond::Provider(hold) = &self.beyond {
            hold.concluded();
        }
    }

    fn conclusion(&self) -> MutexGuard<'_, Option<Conclusion>> {
        self.conclusion
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The database has seen a greater token than ours.
    pub(crate) fn outrun(&self, token: i64) {
        if let Beyond::Provider(hold) = &self.beyond {
            hold.outrun(token);
        }
    }

    /// Whether the locks keep a connection of `db` that nobody uses.
    pub(crate) fn keeps_connection(&self, db: DbId) -> bool {
        match &self.beyond {
            Beyond::Provider(hold) => hold.keeps_connection(db),
            Beyond::Nothing | Beyond::Connection => false,
        }
    }

    /// The connection that the locks live on, if it is one of `db` and nobody uses it.
    pub(crate) fn lend(&self, db: DbId) -> Option<Box<dyn Any + Send>> {
        match &self.beyond {
            Beyond::Provider(hold) => hold.lend(db),
            Beyond::Nothing | Beyond::Connection => None,
        }
    }

    /// Resolves when the connection has come back from whom it was lent to.
    pub(crate) fn returned(&self, db: DbId) -> Option<LockFuture<'_, ()>> {
        match &self.beyond {
            Beyond::Provider(hold) => hold.returned(db),
            Beyond::Nothing | Beyond::Connection => None,
        }
    }

    /// Refuses a COMMIT by `function` under locks that are held no longer.
    pub(crate) async fn check(&self, function: Site) -> Result<(), Error> {
        let hold = match &self.beyond {
            Beyond::Provider(hold) => hold,
            Beyond::Connection if self.ended.load(Ordering::Acquire) => {
                let key = self.keys();
                return Err(Error::LockLost { function, key });
            }
            Beyond::Nothing | Beyond::Connection => return Ok(()),
        };
        hold.check().await.map_err(|failure| match failure {
            LockFailure::Failed(source) => Error::LockUnavailable {
                function,
                key: self.keys(),
                source,
            },
            LockFailure::Lost | LockFailure::Busy { .. } => Error::LockLost {
                function,
                key: self.keys(),
            },
        })
    }

    /// The transaction on whose connection the locks were has ended, and they with it.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Counts something under these locks that may go on without its caller.
    pub(crate) fn orphan(&self) -> Running {
        self.orphans.enter()
    }

    /// Waits for all that goes on without its caller.
    pub(crate) async fn orphans_gone(&self) {
        self.orphans.drain().await;
    }

    /// The outcome of a COMMIT under these locks is unknown, so they must not be opened.
    pub(crate) fn doubt(&self) {
        tracing::warn!(
            key = %self.keys(),
            function = %self.function,
            "the outcome of a COMMIT under a lock is unknown; the lock is left to its lease or session"
        );
        self.in_doubt.store(true, Ordering::Release);
    }

    /// Opens the locks and waits for it, unless a transaction still relies on them.
    pub(crate) async fn open(self: Arc<Self>, function: Site) -> Result<(), Error> {
        let Some(mut last) = Arc::into_inner(self) else {
            return Ok(());
        };
        let key = last.keys();
        let in_doubt = last.in_doubt.load(Ordering::Acquire);
        let Some(opened) = last.start_opening() else {
            return Ok(());
        };
        if in_doubt {
            // It stays shut for a while, and the caller has to hear of it now.
            return Ok(());
        }
        match opened.await {
            Ok(Err(LockFailure::Failed(source))) => Err(Error::LockUnavailable {
                function,
                key,
                source,
            }),
            Ok(Err(_)) => Err(Error::LockLost { function, key }),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// Starts what has to be done beyond this process, out of the caller's reach; the turns
    /// go to the next in line after it.
    fn start_opening(&mut self) -> Option<oneshot::Receiver<Result<(), LockFailure>>> {
        let turns = std::mem::take(&mut self.turns);
        let openings = Arc::clone(turns.first()?.queue().openings());
        let in_doubt = self.in_doubt.load(Ordering::Acquire);
        let conclusion = self.conclusion().take().unwrap_or(Conclusion::Dropped);
        let hold = match std::mem::replace(&mut self.beyond, Beyond::Connection) {
            Beyond::Provider(hold) => {
                hold.conclude(conclusion);
                Some(hold)
            }
            Beyond::Nothing if in_doubt => None,
            Beyond::Nothing | Beyond::Connection => return None,
        };
        let runtime = Handle::try_current()
            .ok()
            .or_else(|| self.runtime.clone())?;
        let (tell, opened) = oneshot::channel();
        openings.spawn(&runtime, async move {
            let result = match hold {
                Some(hold) if in_doubt => {
                    hold.leave().await;
                    Ok(())
                }
                Some(hold) => hold.open().await,
                None => {
                    tokio::time::sleep(DOUBT_LIMIT).await;
                    Ok(())
                }
            };
            if let Err(failure) = &result {
                tracing::warn!(key = %keys(&turns), ?failure, "a lock could not be opened");
            }
            drop(turns);
            // Nobody need wait for it.
            let _ = tell.send(result);
        });
        Some(opened)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.start_opening());
    }
}

fn keys(turns: &[Turn]) -> String {
    let keys: Vec<&str> = turns.iter().map(|turn| &**turn.key()).collect();
    keys.join("`, `")
}
