//! A server that can be told to stop.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server that accepts requests.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
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
        let server = axum::serve(listener, router)
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
    /// If that takes longer than `grace`, or the server had failed.
    pub async fn stop(self, grace: Duration) -> io::Result<()> {
        drop(self.stop);
        let stopped = tokio::time::timeout(grace, self.serving).await;
        stopped
            .map_err(|_| io::Error::other(format!("requests were under way for {grace:?}")))?
            .map_err(io::Error::other)?
    }
}
