//! The ways in which an import can be written, one of them wrong.

use std::net::SocketAddr;

use futures_util::future::join_all;
use tx_runtime::{Db, TicketLocks};

use crate::error::Error;
use crate::incident::Incident;
use crate::run::{Path, Run};
use crate::service::AdAccount;
use crate::store::Store;
use crate::tickets;

/// How imports are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Variant {
    /// Wrong, the incident: a status that each path has to check.
    StatusCheck,
    /// The API client is behind the account's lock.
    Permit,
}

/// The importer of one process, written in one of the ways.
#[derive(Debug)]
pub struct Importer<DB: Store> {
    db: Db<DB>,
    tickets: TicketLocks<DB>,
    api: SocketAddr,
    variant: Variant,
}

impl<DB: Store> Importer<DB> {
    /// From the API at `api` into the tables of `db`.
    #[must_use]
    pub fn new(db: &Db<DB>, api: SocketAddr, variant: Variant) -> Self {
        Self {
            db: db.clone(),
            tickets: tickets::of(db),
            api,
            variant,
        }
    }

    /// Carries out all `runs` at the same time. What became of each is in the table `ad_import`.
    ///
    /// # Errors
    ///
    /// If that cannot be written down.
    pub async fn import_all(&self, runs: &[Run]) -> sqlx::Result<()> {
        let logged = join_all(runs.iter().map(|run| self.import(run))).await;
        logged.into_iter().collect()
    }

    async fn import(&self, run: &Run) -> sqlx::Result<()> {
        match self.on_its_path(run).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let outcome = format!("FAILED: {error}");
                DB::log(DB::outside(&self.db), run, &outcome).await
            }
        }
    }

    async fn on_its_path(&self, run: &Run) -> Result<(), Error> {
        match self.variant {
            Variant::StatusCheck => {
                let account = Incident::new(&self.db, self.api, run.account);
                match run.path {
                    Path::Manual => account.import_manually(run).await,
                    Path::Nightly => account.import_nightly(run).await,
                }
            }
            Variant::Permit => {
                let account = AdAccount::new(&self.db, &self.tickets, self.api, run.account);
                match run.path {
                    Path::Manual => account.import_manually(run).await,
                    Path::Nightly => account.import_nightly(run).await,
                }
            }
        }
    }
}
