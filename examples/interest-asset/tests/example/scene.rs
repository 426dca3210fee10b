//! The service on a database of its own, and somebody outside who looks into that.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::Method;
use hyper::header::CONTENT_TYPE;
use interest_asset::client::{Answer, Client};
use interest_asset::http;
use interest_asset::instance::Instance;
use interest_asset::store::Store;
use interest_asset::variant::{Application, Variant};
use serde_json::Value;
use stage::server::Server;
use tx_runtime::{Db, LocalLocks};
use tx_tests::{Backend, Bed};

/// Longer than any request of these tests takes.
const GRACE: Duration = Duration::from_mins(1);

/// How often a storm is raised until the fault shows: which taps meet is chance.
pub(crate) const STORMS: usize = 10;

/// A database that the example runs on and the harness knows.
pub(crate) trait Base: Backend + Store {}

impl<B: Backend + Store> Base for B {}

/// A bed with the example's tables in it; `None` where there is no server.
pub(crate) async fn bed<B: Base>() -> Option<Bed<B>> {
    let bed = Bed::connected(4).await?;
    B::migrate(bed.db.pool()).await.expect("the tables");
    Some(bed)
}

/// The service on a free port.
pub(crate) async fn start<B: Base>(db: &Db<B>, variant: Variant) -> Server {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let application = Application::new(&Instance::new(db.clone(), LocalLocks::new()), variant);
    let server = Server::start(anywhere, http::router(application)).await;
    server.expect("a free port")
}

/// Ends what [`start`] started.
pub(crate) async fn stop(server: Server) {
    server.stop(GRACE).await.expect("every request is answered");
}

/// A user of the service, in few words.
pub(crate) struct User(Client);

impl User {
    pub(crate) fn of(server: &Server) -> Self {
        Self(Client::new(server.address()))
    }

    pub(crate) async fn send(&mut self, method: Method, path: &str) -> Answer {
        let answer = self.0.send(method.clone(), path).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends a request; gives the status.
    pub(crate) async fn status(&mut self, method: Method, path: &str) -> u16 {
        self.send(method, path).await.status.as_u16()
    }

    /// Sends a request that must be refused; gives the detail of the problem.
    pub(crate) async fn refused(&mut self, method: Method, path: &str, status: u16) -> String {
        let answer = self.send(method, path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        problem(&answer)
    }
}

/// The detail of the problem that an answer must be.
pub(crate) fn problem(answer: &Answer) -> String {
    assert_eq!(answer.headers[CONTENT_TYPE], "application/problem+json");
    let members = json(answer);
    assert_eq!(members["status"], answer.status.as_u16());
    assert_eq!(
        members["title"].as_str(),
        answer.status.canonical_reason(),
        "the title of an about:blank problem is the status in words"
    );
    let detail = members["detail"].as_str().expect("a problem has a detail");
    detail.to_owned()
}

/// The answer's body.
pub(crate) fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: {:?}", answer.body))
}
