//! One of the services that share a database: its connections, and who keeps its locks.

use std::sync::Arc;

use tx_runtime::{Db, LockProvider};

use crate::store::Store;

/// What a service needs from outside.
#[derive(Debug)]
pub struct Instance<DB: Store> {
    /// Its pool, and by default its locks.
    pub db: Db<DB>,
    /// The locks of [`Incident`](crate::incident::Incident).
    pub incident_locks: Arc<dyn LockProvider>,
}

impl<DB: Store> Instance<DB> {
    /// A service on `db`, where the incident takes `incident_locks`.
    #[must_use]
    pub fn new(db: Db<DB>, incident_locks: impl LockProvider) -> Self {
        Self {
            db,
            incident_locks: Arc::new(incident_locks),
        }
    }
}
