//! A user's application.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::{Method, Request};
pub use stage::client::{Answer, NoAnswer};

/// How long a client waits for an answer; longer than anything in the service waits.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// A client of one service.
#[derive(Debug)]
pub struct Client(stage::client::Client);

impl Client {
    /// A client that will connect to `server` with its first request.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        Self(stage::client::Client::new(server, ANSWER_LIMIT))
    }

    /// Sends a request without a body and reads the answer.
    ///
    /// # Errors
    ///
    /// If there is no answer within a minute.
    pub async fn send(&mut self, method: Method, path: &str) -> Result<Answer, NoAnswer> {
        let head = Request::builder().method(method).uri(path);
        self.0.send(head, "").await
    }
}
