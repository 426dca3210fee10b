//! What became of a COMMIT, found out before anybody is told.
//!
//! A COMMIT whose answer is lost has taken effect or not; the connection does not say. Where
//! the server can tell, it is asked on a connection of its own, since those of the pool may be
//! as dead. What it cannot tell, or not in time, stays unknown.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::ConnectOptions;

use crate::dialect::{Dialect, Fate, Fault, Options};
use crate::hook::Completion;
use crate::lease::Lease;

/// When a connection that is lost and that the server still waits for is ended there.
const PATIENCE: Duration = Duration::from_secs(1);

/// The waits between two questions, the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));

/// Who can be asked, besides the connection that is lost.
#[derive(Debug)]
pub(crate) struct Witness<DB: Dialect> {
    pub(crate) options: Arc<Options<DB>>,
    /// How long it is asked: it may be restarting, or work on the COMMIT.
    pub(crate) limit: Duration,
}

/// Commits if `proofs` do not fail, and says what became of the transaction beside how COMMIT was answered.
///
/// Where those two differ, the transaction is stored and the answer is `Ok`, or it is not and
/// the error is the one that came instead of an answer.
pub(crate) async fn commit<DB: Dialect>(
    lease: &mut Lease<DB>,
    proofs: String,
    read_only: bool,
    witness: &Witness<DB>,
) -> (Result<(), sqlx::Error>, Completion) {
    let behind = lease.owes();
    match lease.commit(proofs).await {
        Ok(()) => (Ok(()), Completion::Committed),
        // In a box, so that a COMMIT that succeeds has no room for it.
        Err(error) => Box::pin(clear_up(lease, error, behind, read_only, witness)).await,
    }
}

/// What became of a transaction whose COMMIT was answered with `error`.
async fn clear_up<DB: Dialect>(
    lease: &mut Lease<DB>,
    error: sqlx::Error,
    behind: bool,
    read_only: bool,
    witness: &Witness<DB>,
) -> (Result<(), sqlx::Error>, Completion) {
    if DB::fault(&error) == Fault::Connection {
        // The server must see that nothing more comes.
        lease.close();
    } else {
        lease.roll_back_after(&error).await;
    }
    if DB::ended_early(&error) {
        return (Err(error), Completion::Unknown);
    }
    // A transaction that cannot write has stored nothing, whatever was answered.
    if read_only || !DB::may_have_committed(&error, behind) {
        return (Err(error), Completion::RolledBack);
    }
    let completion = match lease.take_receipt() {
        Some(receipt) => witness.look_up(&receipt).await,
        None => Completion::Unknown,
    };
    tracing::warn!(%error, ?completion, "the answer to COMMIT was lost");
    match completion {
        Completion::Committed => (Ok(()), completion),
        Completion::RolledBack | Completion::Unknown => (Err(error), completion),
    }
}

impl<DB: Dialect> Witness<DB> {
    async fn look_up(&self, receipt: &DB::Receipt) -> Completion {
        let known = tokio::time::timeout(self.limit, self.ask_until_known(receipt));
        known.await.unwrap_or(Completion::Unknown)
    }

    async fn ask_until_known(&self, receipt: &DB::Receipt) -> Completion {
        let started = Instant::now();
        let (mut pause, longest) = PAUSES;
        let mut connection = None;
        loop {
            let impatient = started.elapsed() > PATIENCE;
            match self.ask(&mut connection, receipt, impatient).await {
                Ok(Fate::Committed) => return Completion::Committed,
                Ok(Fate::RolledBack) => return Completion::RolledBack,
                Ok(Fate::Forgotten) => return Completion::Unknown,
                Ok(Fate::Open) => {}
                Err(error) => {
                    tracing::debug!(%error, "the server cannot be asked what became of a COMMIT");
                    connection = None;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Asks on `connection`, which is made if there is none.
    async fn ask(
        &self,
        connection: &mut Option<DB::Connection>,
        receipt: &DB::Receipt,
        impatient: bool,
    ) -> Result<Fate, sqlx::Error> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.options.connect().await?),
        };
        match DB::fate(connection, receipt, impatient).await {
            Err(error) if DB::fault(&error) != Fault::Connection => {
                tracing::warn!(%error, "the server does not tell what became of a COMMIT");
                Ok(Fate::Forgotten)
            }
            fate => fate,
        }
    }
}
