//! Requests to the API, for one account.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stage::client::NoAnswer;
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
    /// There was no answer.
    #[error("the API: {0}")]
    NoAnswer(#[from] NoAnswer),

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
        let head = Request::builder()
            .method(method)
            .uri(format!("/accounts/{}/reports{path}", self.account))
            .header(CONTENT_TYPE, "application/json")
            .header(SESSION, session);
        let body = serde_json::to_vec(body)?;
        let mut client = stage::client::Client::new(self.api, ANSWER_LIMIT);
        let answer = client.send(head, body).await?;
        if !answer.status.is_success() {
            return Err(ClientError::Refused(answer.status));
        }
        Ok(serde_json::from_slice(&answer.body)?)
    }
}
