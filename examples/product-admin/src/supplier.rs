//! Who is asked for prices, and may do whatever others do to one's program.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::sync::Notify;

/// What comes of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// The price.
    Offers(i64),
    /// No connection.
    Unreachable,
    /// Nonsense, on which the code that reads it panics.
    Nonsense,
    /// No answer, ever.
    Silent,
}

/// The supplier cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("the supplier cannot be reached")]
pub struct SupplierError;

/// A supplier of all products.
#[derive(Debug)]
pub struct Supplier {
    manner: Manner,
    asked: Notify,
}

impl Supplier {
    /// A supplier of that manner.
    #[must_use]
    pub fn new(manner: Manner) -> Self {
        Self {
            manner,
            asked: Notify::new(),
        }
    }

    /// What a product costs today.
    ///
    /// # Errors
    ///
    /// If the supplier cannot be reached.
    ///
    /// # Panics
    ///
    /// On nonsense.
    pub async fn price(&self) -> Result<i64, SupplierError> {
        self.asked.notify_one();
        match self.manner {
            Manner::Offers(price) => Ok(price),
            Manner::Unreachable => Err(SupplierError),
            // A panic without the hook, which would print it into the table.
            Manner::Nonsense => resume_unwind(Box::new("a price that is no number")),
            Manner::Silent => pending().await,
        }
    }

    /// Waits until somebody has asked for a price.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }
}
