//! The importer as it should be: its client of the API is behind the account's lock.
//!
//! There are two paths to an import, and there may be a third one some day. None of them can
//! leave the lock out: the client comes out of a [`Permit`] only, and that out of the lock.

use std::net::SocketAddr;

use tx_runtime::{Db, Guarded, Permit, TicketLocks, transactional};

use crate::client::Client;
use crate::error::Error;
use crate::run::Run;
use crate::session::Row;
use crate::store::Store;

/// An account whose reports are imported.
#[derive(Debug)]
pub struct AdAccount<DB: Store> {
    db: Db<DB>,
    api: Guarded<Client>,
}

impl<DB: Store> AdAccount<DB> {
    /// The account of the API at `api`.
    #[must_use]
    pub fn new(db: &Db<DB>, tickets: &TicketLocks<DB>, api: SocketAddr, account: i64) -> Self {
        Self {
            db: db.clone(),
            api: Client::guarded(api, account, tickets),
        }
    }

    /// What a user's click does.
    ///
    /// # Errors
    ///
    /// Whatever failed; nothing is stored then.
    pub async fn import_manually(&self, run: &Run) -> Result<(), Error> {
        let import = async |permit: &Permit<'_, Client>| self.import(permit, run).await;
        self.api.with(run.to_string(), import).await
    }

    /// What the batch does, with the permit in a variable.
    ///
    /// # Errors
    ///
    /// Whatever failed; nothing is stored then.
    pub async fn import_nightly(&self, run: &Run) -> Result<(), Error> {
        let permit = self.api.permit(run.to_string()).await?;
        match permit
            .within(async || self.import(&permit, run).await)
            .await
        {
            Ok(()) => permit.release().await?,
            Err(error) => {
                // The import's error says more than one of the lock, which opens with its lease.
                let _ = permit.release_failed(&error).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// A report session from its begin to its end. While it talks to the API, no transaction is
    /// open and no connection is in use.
    async fn import(&self, permit: &Permit<'_, Client>, run: &Run) -> Result<(), Error> {
        let session = permit.client().session();
        let stored = tokio::select! {
            fetched = session.fetch(run.days.clone()) => match fetched {
                Ok(rows) => self.store(run, &rows).await,
                Err(error) => Err(error.into()),
            },
            // Whoever has the lock now must not be disturbed.
            lost = permit.lost() => return Err(lost.into()),
        };
        permit.ensure_held().await?;
        session.delete_all().await?;
        stored
    }

    /// One transaction under the account's lock: it does not commit if that is lost, and the log
    /// says SUCCESS if, and only if, the rows are there.
    #[transactional]
    async fn store(&self, run: &Run, rows: &[Row]) -> Result<(), Error> {
        DB::save(&self.db, run.account, rows).await?;
        DB::log(&self.db, run, "SUCCESS").await?;
        Ok(())
    }
}
