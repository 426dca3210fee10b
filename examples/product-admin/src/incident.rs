//! THE INCIDENT, kept on purpose: never copy this file.
//!
//! The transaction is two statements among others, so whoever leaves between them leaves it
//! open, and the pool hands it to the next request with the connection.

use sqlx::Pool;

use crate::error::Error;
use crate::store::Store;
use crate::supplier::Supplier;

/// The job as it was before it was mended.
#[derive(Debug)]
pub struct Incident<DB: Store> {
    pool: Pool<DB>,
}

impl<DB: Store> Incident<DB> {
    /// The faulty job on `pool`.
    #[must_use]
    pub fn new(pool: Pool<DB>) -> Self {
        Self { pool }
    }

    /// Takes over the supplier's price of `product`.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    pub async fn sync_price(&self, product: i64, supplier: &Supplier) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        DB::send(&mut connection, "begin").await?;
        let price = DB::price(DB::on(&mut connection), product).await?;
        let offered = supplier.price().await?; // the mistake again, harder to see
        if offered == price {
            return Ok(()); // the mistake
        }
        DB::set_price(DB::on(&mut connection), product, offered).await?;
        DB::send(&mut connection, "commit").await?;
        Ok(())
    }
}
