//! Who is told of physical transactions while they begin and end.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::panic::caught;
use crate::site::Site;
use crate::transaction_info::TransactionInfo;

/// What a listener is told: see [`DbBuilder::listener`](crate::DbBuilder::listener).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TransactionEvent<'e> {
    /// What happens.
    pub moment: Moment,
    /// To which transaction.
    pub transaction: TransactionInfo,
    /// If it happens to a savepoint of it: the function that the savepoint belongs to.
    pub savepoint: Option<Site>,
    /// What went wrong, in an `After` moment. [`AfterCommit`](Moment::AfterCommit): nothing is
    /// stored, or nobody knows. [`AfterRollback`](Moment::AfterRollback): the connection was lost
    /// or is closed, at which the server rolls back.
    pub failure: Option<&'e (dyn StdError + 'static)>,
}

/// A moment in the life of a transaction or savepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Moment {
    /// BEGIN, or SAVEPOINT, is about to be sent.
    BeforeBegin,
    /// It was answered. A failed transaction may try again on another connection.
    AfterBegin,
    /// COMMIT, or RELEASE SAVEPOINT, is about to be sent.
    BeforeCommit,
    /// It was answered, or the answer was lost.
    AfterCommit,
    /// ROLLBACK, also to the savepoint, is about to be sent.
    BeforeRollback,
    /// It was answered; or the transaction has ended without, with its connection.
    AfterRollback,
    /// A scope inside of it has set it aside.
    Suspended,
    /// That scope has ended.
    Resumed,
}

type Listener = Arc<dyn Fn(&TransactionEvent<'_>) + Send + Sync>;

/// What a `Db` watches its transactions for.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    pub(crate) listeners: Vec<Listener>,
    /// A scope that takes longer is worth a warning.
    pub(crate) slow: Option<Duration>,
    /// So is a transaction that waits longer for its next statement.
    pub(crate) idle: Option<Duration>,
}

impl Watch {
    pub(crate) fn has_listeners(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// Tells everybody; a panic of one is its own.
    pub(crate) fn tell(&self, event: &TransactionEvent<'_>) {
        for listener in &self.listeners {
            if let Err(panic) = caught(|| listener(event)) {
                let function = event.transaction.function();
                tracing::error!(%function, moment = ?event.moment, %panic, "a listener failed");
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("listeners", &self.listeners.len())
            .field("slow", &self.slow)
            .field("idle", &self.idle)
            .finish()
    }
}

/// A transaction that a scope inside of it has set aside, as long as this lives.
pub(crate) struct Suspension {
    watch: Arc<Watch>,
    transaction: TransactionInfo,
}

impl Suspension {
    pub(crate) fn of(watch: &Arc<Watch>, transaction: TransactionInfo) -> Self {
        let suspension = Self {
            watch: Arc::clone(watch),
            transaction,
        };
        suspension.tell(Moment::Suspended);
        suspension
    }

    fn tell(&self, moment: Moment) {
        self.watch.tell(&TransactionEvent {
            moment,
            transaction: self.transaction,
            savepoint: None,
            failure: None,
        });
    }
}

impl Drop for Suspension {
    fn drop(&mut self) {
        self.tell(Moment::Resumed);
    }
}
