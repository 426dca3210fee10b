//! THE INCIDENT, kept on purpose: never copy this file.
//!
//! A status says whether an account is occupied, and every path has to think of asking. The
//! manual one does. The nightly one was written later: it says QUEUED, as an import that waits
//! does, and begins with step 2. Who looks at the status does not take that for an import that
//! goes on; and who had said RUNNING before, says it no longer.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tx_runtime::Db;

use crate::client::Client;
use crate::error::Error;
use crate::run::Run;
use crate::session::Row;
use crate::store::Store;

/// How long an import waits for the account.
const WAIT: Duration = Duration::from_mins(2);

/// How often it looks whether the account is free.
const LOOK: Duration = Duration::from_millis(20);

/// An account whose reports are imported, as it was before it was mended.
#[derive(Debug)]
pub struct Incident<DB: Store> {
    db: Db<DB>,
    api: Client,
}

impl<DB: Store> Incident<DB> {
    /// The account of the API at `api`.
    #[must_use]
    pub fn new(db: &Db<DB>, api: SocketAddr, account: i64) -> Self {
        Self {
            db: db.clone(),
            api: Client::unguarded(api, account),
        }
    }

    /// What a user's click does: step 1, and then step 2.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    pub async fn import_manually(&self, run: &Run) -> Result<(), Error> {
        self.wait_for_account(run.account).await?;
        self.import(run).await
    }

    /// What the batch does: its accounts are "queued", so it goes on with step 2.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    pub async fn import_nightly(&self, run: &Run) -> Result<(), Error> {
        self.set_status(run.account, "QUEUED").await?;
        self.import(run).await
    }

    /// Step 1: nobody else may be RUNNING, and then we are.
    async fn wait_for_account(&self, account: i64) -> Result<(), Error> {
        let waiting = timeout(WAIT, async {
            while !DB::start_running(DB::outside(&self.db), account).await? {
                sleep(LOOK).await;
            }
            Ok(())
        });
        waiting.await.unwrap_or(Err(Error::Occupied))
    }

    /// Step 2. An empty list is no error, as an account may have shown no advertisements.
    async fn import(&self, run: &Run) -> Result<(), Error> {
        let session = self.api.session();
        let stored = match session.fetch(run.days.clone()).await {
            Ok(rows) => self.save(run, &rows).await,
            Err(error) => Err(error.into()),
        };
        session.delete_all().await?;
        self.set_status(run.account, "IDLE").await?;
        stored
    }

    async fn save(&self, run: &Run, rows: &[Row]) -> Result<(), Error> {
        DB::save(DB::outside(&self.db), run.account, rows).await?;
        DB::log(DB::outside(&self.db), run, "SUCCESS").await?;
        Ok(())
    }

    async fn set_status(&self, account: i64, status: &str) -> Result<(), Error> {
        DB::set_status(DB::outside(&self.db), account, status).await?;
        Ok(())
    }
}
