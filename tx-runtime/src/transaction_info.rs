//! What can be told about a physical transaction: to hooks, listeners and logs.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::options::{Isolation, Terms};
use crate::propagation::Propagation;
use crate::site::Site;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A physical transaction, told apart from all others of this process.
///
/// [`Db::transaction_info`](crate::Db::transaction_info) gives that of the scope one is in. A hook
/// takes along what it wants to know:
///
/// ```
/// # fn register(db: &tx_runtime::SqliteDb) -> Result<(), tx_runtime::Error> {
/// let transaction = db.transaction_info()?;
/// db.after_completion(async move |end| {
///     println!("{}: transaction {} ended: {end:?}", transaction.function(), transaction.id());
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionInfo {
    id: u64,
    function: Site,
    propagation: Propagation,
    pub(crate) terms: Terms,
}

impl TransactionInfo {
    pub(crate) fn next(function: Site, propagation: Propagation, terms: Terms) -> Self {
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            function,
            propagation,
            terms,
        }
    }

    /// A number that no other transaction of this process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The function that owns it.
    #[must_use]
    pub fn function(&self) -> Site {
        self.function
    }

    /// The mode of that function.
    #[must_use]
    pub fn propagation(&self) -> Propagation {
        self.propagation
    }

    /// The level that it is begun with; the server's default, if `None`.
    #[must_use]
    pub fn isolation(&self) -> Option<Isolation> {
        self.terms.isolation
    }

    /// Whether the server refuses every write in it.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.terms.read_only
    }
}
