//! A server that is told to stop finishes what it has begun, and begins nothing more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hyper::Method;
use interest_asset::client::Client;
use stage::server::{Server, StopError};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a server waits for what it has begun: longer than anybody here is patient.
const GRACE: Duration = Duration::from_mins(2);

/// A server whose requests tell that they have begun, and end when they may.
struct Slow {
    server: Server,
    begun: Arc<Semaphore>,
    may_end: Arc<Semaphore>,
}

impl Slow {
    async fn start() -> Self {
        let (begun, may_end) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (begins, ends) = (Arc::clone(&begun), Arc::clone(&may_end));
        let work = move || async move {
            begins.add_permits(1);
            ends.acquire().await.expect("never closed").forget();
            "done"
        };
        let router = Router::new().route("/", get(work));
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(anywhere, router).await.expect("a free port");
        Self {
            server,
            begun,
            may_end,
        }
    }
}

#[tokio::test]
async fn what_has_begun_is_answered() {
    let Slow {
        server,
        begun,
        may_end,
    } = Slow::start().await;
    let address = server.address();
    let request = tokio::spawn(async move { Client::new(address).send(Method::GET, "/").await });
    begun.acquire().await.expect("never closed").forget();

    let stopping = tokio::spawn(server.stop(GRACE));
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let refused = timeout(PATIENCE, refused).await;
    refused.expect("nothing new is accepted while the old request is under way");

    may_end.add_permits(1);
    let answer = request.await.expect("no panic").expect("an answer");
    assert_eq!(&answer.body[..], b"done");
    let stopped = stopping.await.expect("no panic");
    stopped.expect("a graceful end");
}

#[tokio::test]
async fn what_never_ends_is_not_waited_for() {
    let slow = Slow::start().await;
    let address = slow.server.address();
    let request = tokio::spawn(async move { Client::new(address).send(Method::GET, "/").await });
    slow.begun.acquire().await.expect("never closed").forget();
    let stopped = slow.server.stop(Duration::from_millis(50)).await;
    assert!(matches!(stopped, Err(StopError::Busy(_))), "{stopped:?}");
    request.abort();
}
