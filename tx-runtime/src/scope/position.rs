//! Where a chain stands in the transactions of one `Db`.

use std::any::Any;
use std::sync::Arc;

use crate::admission::Holder;
use crate::chain::{Frame, Ground, Physical, ScopeLink};
use crate::dialect::Dialect;
use crate::level::Level;
use crate::lock::Held;
use crate::site::Site;
use crate::source::{Holding, Source};
use crate::transaction::{Transaction, Turn};

/// Where the statements of a scope run.
pub(crate) struct Position<DB: Dialect> {
    pub(crate) transaction: Arc<Transaction<DB>>,
    pub(crate) level: Arc<Level>,
    /// The function that the statements are run for.
    pub(crate) function: Site,
    /// The locks that they are to be as fresh as: those that were asked for around them.
    pub(crate) locks: Vec<Arc<Held>>,
}

impl<DB: Dialect> Position<DB> {
    /// The position that a chain entry stands for, if it is in a transaction.
    #[inline]
    pub(crate) fn of(scope: &ScopeLink) -> Option<Self> {
        let Ground::Transaction { transaction, level } = &scope.ground else {
            return None;
        };
        Some(Self {
            transaction: of_type(transaction)?,
            level: Arc::clone(level),
            function: scope.site,
            locks: Vec::new(),
        })
    }

    /// As [`of`](Self::of), for statements whose chain ends in `frame`. The locks that were asked
    /// for around it go over to the transaction, which may have begun before they were taken.
    #[inline]
    pub(crate) fn under(scope: &ScopeLink, frame: &Frame) -> Option<Self> {
        let mut position = Self::of(scope)?;
        if frame.is_under_lock() {
            position.locks = frame.asked_for();
            position.transaction.adopt(&position.locks);
        }
        Some(position)
    }

    /// The position of a chain that ends in `frame`, if it is in a transaction of `source`.
    pub(crate) fn nearest(source: &Source<DB>, frame: Option<&Frame>) -> Option<Self> {
        Self::of(frame?.find(source.id())?)
    }

    /// The wire, if a statement could be sent this moment.
    pub(crate) fn ready_now(&self) -> Option<Turn<'_, DB>> {
        self.transaction.ready_now(&self.level, &self.locks)
    }
}

#[inline]
fn of_type<DB: Dialect>(transaction: &Arc<dyn Physical>) -> Option<Arc<Transaction<DB>>> {
    let any: Arc<dyn Any + Send + Sync> = Arc::<dyn Physical>::clone(transaction);
    any.downcast().ok()
}

/// The connections of the pool of `source` that a chain holds, those of its locks included.
pub(crate) fn holding<DB: Dialect>(source: &Source<DB>, frame: Option<&Frame>) -> Holding {
    let mut holding = nearest_transaction(source, frame)
        .map_or_else(Holding::default, |transaction| transaction.holding(false));
    let locks = frame.map_or_else(Vec::new, Frame::locks);
    for held in locks
        .iter()
        .filter(|held| held.keeps_connection(source.id()))
    {
        holding.level += 1;
        holding.holders.push(Arc::as_ptr(held) as Holder);
    }
    holding.under_lock = !locks.is_empty();
    holding
}

/// The transaction on the pool of `source` nearest in the chain, running or suspended.
pub(crate) fn nearest_transaction<DB: Dialect>(
    source: &Source<DB>,
    frame: Option<&Frame>,
) -> Option<Arc<Transaction<DB>>> {
    frame?.scopes().find_map(|scope| {
        let Position { transaction, .. } = Position::of(scope)?;
        transaction.is_on_pool_of(source).then_some(transaction)
    })
}
