//! A server that can be told to stop, and then first finishes what it has begun.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{Failure, told_to_stop};

/// How long requests that are under way may take when a service is to stop: longer than they
/// wait for a lock or a connection.
const GRACE: Duration = Duration::from_secs(15);

/// A server that accepts requests.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
}

/// A server did not stop as it should.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// Requests were still under way at the end of the grace period.
    #[error("requests were still under way {0:?} after the server was told to stop")]
    Busy(Duration),

    /// The server had failed before.
    #[error("the server had failed: {0}")]
    Failed(#[from] io::Error),
}

impl Server {
    /// Serves `router` at `address`, where port 0 stands for any free one.
    ///
    /// # Errors
    ///
    /// If the address is in use or not ours.
    pub async fn start(address: SocketAddr, router: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = axum::serve(
            // Small answers need not wait for each other.
            listener.tap_io(|stream| drop(stream.set_nodelay(true))),
            router,
        )
        .with_graceful_shutdown(async move { drop(stopped.await) });
        Ok(Self {
            address,
            stop,
            serving: tokio::spawn(server.into_future()),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, and returns when every request that was accepted is answered.
    ///
    /// # Errors
    ///
    /// [`StopError::Busy`] if that takes longer than `grace`.
    pub async fn stop(self, grace: Duration) -> Result<(), StopError> {
        drop(self.stop);
        match tokio::time::timeout(grace, self.serving).await {
            Err(_) => Err(StopError::Busy(grace)),
            Ok(Ok(served)) => Ok(served?),
            Ok(Err(panic)) => Err(StopError::Failed(io::Error::other(panic))),
        }
    }
}

/// A service until it is told to stop.
///
/// # Errors
///
/// If it cannot listen there, or does not stop as it should.
pub async fn serve(address: SocketAddr, router: Router) -> Result<ExitCode, Failure> {
    let server = Server::start(address, router)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    println!("listening on http://{}", server.address());
    told_to_stop().await?;
    println!("stopping");
    server.stop(GRACE).await?;
    Ok(ExitCode::SUCCESS)
}
