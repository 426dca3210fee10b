//! One variant put to the test: its service started, stormed and stopped, the tables read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use stage::ProgressBar;
use stage::server::{Server, StopError};

use crate::http;
use crate::instance::Instance;
use crate::report::Report;
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
/// For each of `instances`, all on one database, a service is started, as a load balancer
/// would have several. Each double tap is a step of `progress`.
///
/// # Errors
///
/// If the service cannot be started or stopped, or its tables cannot be read. Requests that
/// fail are part of the report.
///
/// # Panics
///
/// If there is no instance.
pub async fn run<DB: Store>(
    instances: &[Instance<DB>],
    variant: Variant,
    accounts: RangeInclusive<i64>,
    users: u32,
    progress: &ProgressBar,
) -> Result<Report, TrialError> {
    let mut servers = Vec::new();
    for instance in instances {
        let router = http::router(Application::new(instance, variant));
        servers.push(Server::start(ANYWHERE, router).await?);
    }
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    let answers = storm::run(&addresses, accounts.clone(), users, progress).await;
    for server in servers {
        server.stop(GRACE).await?;
    }
    let pool = instances[0].db.pool();
    let rows = DB::rows_among(pool, &accounts).await?;
    let notified = DB::notified_among(pool, &accounts).await?;
    Ok(Report::new(accounts.count(), &rows, notified, answers))
}
