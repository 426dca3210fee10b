//! The command `serve`: the service, until it is told to stop.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use course_applicants::http;
use course_applicants::server::Server;
use course_applicants::service::Applicants;
use course_applicants::store::Store;
use course_applicants::tables;
use stage::Failure;
use tokio::signal::ctrl_c;
use tx_runtime::Db;

use crate::arguments::Serve;

/// How long requests that are under way may take when the service is to stop.
const GRACE: Duration = Duration::from_secs(15);

/// Starts only if nothing is wrong with the history.
pub(crate) async fn run<DB: Store>(db: &Db<DB>, serve: &Serve) -> Result<ExitCode, Failure> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    tables::create(db, serve.variant).await?;
    if !serve.unchecked {
        let checked = tables::verify(db).await?.into_result();
        checked.map_err(|report| format!("the service does not start\n{report}"))?;
    }
    let applicants = Applicants::of(db.clone()).await?;
    let server = Server::start(serve.listen, http::router(applicants))
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", serve.listen))?;
    println!("listening on http://{}", server.address());
    told_to_stop().await?;
    println!("stopping");
    server.stop(GRACE).await?;
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C, or what a service manager sends.
async fn told_to_stop() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    ctrl_c().await
}
