//! One variant put to the test: the service started, stormed and stopped, its tables read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use tx_runtime::Db;

use crate::http;
use crate::report::Report;
use crate::server::{Server, StopError};
use crate::store::Store;
use crate::storm;
use crate::variant::{Application, Variant};

/// Any free port of this machine.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How long the service may take to stop when all users have their answers.
const GRACE: Duration = Duration::from_secs(5);

/// A trial could not be held.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The service could not be started.
    #[error("the service cannot listen: {0}")]
    Listen(#[from] std::io::Error),

    /// The service did not end as it should.
    #[error(transparent)]
    Stop(#[from] StopError),

    /// The tables could not be read.
    #[error("the tables cannot be read: {0}")]
    Read(#[from] sqlx::Error),
}

/// Has `users` clients at a time double-tap for all `accounts`, of which the tables must
/// know nothing yet.
///
/// # Errors
///
/// If the service cannot be started or stopped, or its tables cannot be read. Requests that
/// fail are part of the report.
pub async fn run<DB: Store>(
    db: &Db<DB>,
    variant: Variant,
    accounts: RangeInclusive<i64>,
    users: u32,
) -> Result<Report, TrialError> {
    let router = http::router(Application::new(db, variant));
    let server = Server::start(ANYWHERE, router).await?;
    let answers = storm::run(server.address(), accounts.clone(), users).await;
    server.stop(GRACE).await?;
    let rows = DB::rows_among(db.pool(), &accounts).await?;
    let notified = DB::notified_among(db.pool(), &accounts).await?;
    Ok(Report::new(accounts.count(), &rows, notified, answers))
}
