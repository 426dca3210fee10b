//! The ways in which registering an asset can be written, two of them wrong.

use std::sync::Arc;

use crate::error::Error;
use crate::incident::Incident;
use crate::instance::Instance;
use crate::service::InterestAssets;
use crate::store::Store;

/// How an asset is registered, from the first mistake to the last remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Variant {
    /// Wrong: one transaction and no lock.
    NoLock,
    /// Wrong, the incident: a lock around a part of the transaction, open before the commit.
    LockReleasedBeforeCommit,
    /// Adding the asset commits before its lock opens, and the rest follows.
    Isolated,
    /// One transaction, which keeps the lock until it has ended.
    OneTransaction,
}

impl Variant {
    /// Whether it is one of those that must do no harm.
    #[must_use]
    pub fn is_right(self) -> bool {
        matches!(self, Self::Isolated | Self::OneTransaction)
    }
}

/// The service, with registering written in one of the ways.
#[derive(Debug)]
pub struct Application<DB: Store> {
    variant: Variant,
    /// What all variants share: everything but registering.
    pub assets: InterestAssets<DB>,
    incident: Incident<DB>,
}

impl<DB: Store> Application<DB> {
    /// The service of `instance`.
    #[must_use]
    pub fn new(instance: &Instance<DB>, variant: Variant) -> Self {
        let Instance { db, incident_locks } = instance;
        Self {
            variant,
            assets: InterestAssets::new(db.clone()),
            incident: Incident::new(db.clone(), Arc::clone(incident_locks)),
        }
    }

    /// Adds `asset` to the account's assets and turns its notification on; `false` if it was
    /// added before.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    pub async fn register(&self, account: i64, asset: i64) -> Result<bool, Error> {
        match self.variant {
            Variant::NoLock => self.incident.register_without_lock(account, asset).await,
            Variant::LockReleasedBeforeCommit => {
                let incident = &self.incident;
                incident.register_with_lock_around_add(account, asset).await
            }
            Variant::Isolated => self.assets.register(account, asset).await,
            Variant::OneTransaction => self.assets.register_at_once(account, asset).await,
        }
    }
}
