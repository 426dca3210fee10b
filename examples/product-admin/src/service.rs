//! The job as it should be: leaving the function ends the transaction.

use tx_runtime::{Db, transactional};

use crate::error::Error;
use crate::store::Store;
use crate::supplier::Supplier;

/// What the people behind a shop do with its products.
#[derive(Debug)]
pub struct ProductAdmin<DB: Store> {
    db: Db<DB>,
}

impl<DB: Store> ProductAdmin<DB> {
    /// The job on the table of `db`.
    #[must_use]
    pub fn new(db: Db<DB>) -> Self {
        Self { db }
    }

    /// Takes over the supplier's price of `product`.
    ///
    /// # Errors
    ///
    /// Whatever failed; the price is as it was.
    #[transactional]
    pub async fn sync_price(&self, product: i64, supplier: &Supplier) -> Result<(), Error> {
        let price = DB::price(&self.db, product).await?;
        let offered = supplier.price().await?;
        if offered == price {
            return Ok(());
        }
        DB::set_price(&self.db, product, offered).await?;
        Ok(())
    }

    /// Waits until the rollbacks that were begun have ended.
    pub(crate) async fn settled(&self) {
        self.db.drain().await;
    }
}
