//! The two ways in which the job can be written, one of them wrong.

use sqlx::Pool;
use tx_runtime::Db;

use crate::error::Error;
use crate::incident::Incident;
use crate::service::ProductAdmin;
use crate::store::Store;
use crate::supplier::Supplier;

/// How the job is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Variant {
    /// Wrong, the incident: BEGIN and COMMIT by hand.
    HandWritten,
    /// The attribute ends the transaction, whichever way the job is left.
    Transactional,
}

impl Variant {
    /// Whether it must do no harm.
    #[must_use]
    pub fn is_right(self) -> bool {
        self == Self::Transactional
    }
}

/// The application, with its job written in one of the ways.
#[derive(Debug)]
pub enum Application<DB: Store> {
    /// [`Variant::HandWritten`].
    HandWritten(Incident<DB>),
    /// [`Variant::Transactional`].
    Transactional(ProductAdmin<DB>),
}

impl<DB: Store> Application<DB> {
    /// The application on `pool`.
    #[must_use]
    pub fn new(pool: Pool<DB>, variant: Variant) -> Self {
        match variant {
            Variant::HandWritten => Self::HandWritten(Incident::new(pool)),
            Variant::Transactional => Self::Transactional(ProductAdmin::new(Db::new(pool))),
        }
    }

    /// Takes over the supplier's price of `product`.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    pub async fn sync_price(&self, product: i64, supplier: &Supplier) -> Result<(), Error> {
        match self {
            Self::HandWritten(incident) => incident.sync_price(product, supplier).await,
            Self::Transactional(service) => service.sync_price(product, supplier).await,
        }
    }

    /// Waits for what was begun, and for nothing else.
    pub(crate) async fn settled(&self) {
        if let Self::Transactional(service) = self {
            service.settled().await;
        }
    }
}
