//! Requests to the API, for one account.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tx_runtime::{Dialect, Guarded, TicketLocks};

use crate::api::SESSION;
use crate::session::Session;
use crate::tickets;

/// How long an answer may take: well below the lease of a lock, so that no request that was
/// begun under it is still on its way when somebody else has it.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A client for one account of the API. It cannot be cloned, so it stays where it is: behind
/// the account's lock.
#[derive(Debug)]
pub struct Client {
    api: SocketAddr,
    account: i64,
}

/// A request was not answered as it should have been.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The API could not be reached.
    #[error("no connection to the API: {0}")]
    Connect(#[from] std::io::Error),

    /// The connection broke, or HTTP was not spoken on it.
    #[error("no answer from the API: {0}")]
    Http(#[from] hyper::Error),

    /// It cannot be sent.
    #[error("no request: {0}")]
    Request(#[from] hyper::http::Error),

    /// The API took too long.
    #[error("no answer from the API within {ANSWER_LIMIT:?}")]
    NoAnswer,

    /// The API will not do it.
    #[error("the API answered {0}")]
    Refused(StatusCode),

    /// What came is not what the API gives, or what goes cannot be written down.
    #[error("the API is not understood: {0}")]
    Json(#[from] serde_json::Error),

    /// The session took too long.
    #[error("the reports were not there within {0:?}")]
    TooLong(Duration),
}

impl Client {
    /// The client for an account of the API at `api`, behind the account's lock: from outside of
    /// this crate there is no other way to one.
    #[must_use]
    pub fn guarded<DB: Dialect>(
        api: SocketAddr,
        account: i64,
        tickets: &TicketLocks<DB>,
    ) -> Guarded<Self> {
        Guarded::new(
            Self::unguarded(api, account),
            tickets,
            tickets::lock(account),
        )
    }

    /// THE INCIDENT: a client that anybody can use at any time. It is there for that one.
    pub(crate) fn unguarded(api: SocketAddr, account: i64) -> Self {
        Self { api, account }
    }

    /// A report session of its own.
    #[must_use]
    pub fn session(&self) -> Session<'_> {
        Session::new(self)
    }

    /// Sends a request of `session` about the account's reports, or what `path` says of them,
    /// and reads the answer.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        session: &str,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/accounts/{}/reports{path}", self.account))
            .header(HOST, self.api.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header(SESSION, session)
            .body(Full::from(serde_json::to_vec(body)?))?;
        let answer = timeout(ANSWER_LIMIT, self.exchange(request)).await;
        Ok(serde_json::from_slice(
            &answer.unwrap_or(Err(ClientError::NoAnswer))?,
        )?)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, ClientError> {
        let stream = TcpStream::connect(self.api).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends with the sender, which is told whatever goes wrong.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        if !answer.status().is_success() {
            return Err(ClientError::Refused(answer.status()));
        }
        Ok(answer.into_body().collect().await?.to_bytes())
    }
}
