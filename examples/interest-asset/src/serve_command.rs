//! The command `serve`: the service, until it is told to stop.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use interest_asset::http;
use interest_asset::instance::Instance;
use interest_asset::server::Server;
use interest_asset::store::Store;
use interest_asset::variant::Application;
use stage::Failure;
use tokio::signal::ctrl_c;

use crate::arguments::Serve;
use crate::instances::Task;

/// How long requests that are under way may take when the service is to stop: longer than
/// they wait for a lock or a connection.
const GRACE: Duration = Duration::from_secs(15);

impl Task for Serve {
    async fn run<DB: Store>(&self, instances: &[Instance<DB>]) -> Result<ExitCode, Failure> {
        tracing_subscriber::fmt().with_writer(io::stderr).init();
        let application = Application::new(&instances[0], self.variant);
        let server = Server::start(self.listen, http::router(application))
            .await
            .map_err(|error| format!("cannot listen on {}: {error}", self.listen))?;
        println!("listening on http://{}", server.address());
        told_to_stop().await?;
        println!("stopping");
        server.stop(GRACE).await?;
        Ok(ExitCode::SUCCESS)
    }
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
