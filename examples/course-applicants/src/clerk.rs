//! A member of the staff, at a desk with a client of the service.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::header::CONTENT_TYPE;
use hyper::http::request::Builder;
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use stage::client::{Client, NoAnswer};

use crate::applicant::Applicant;
use crate::http::USER;

/// How long a clerk waits for an answer; longer than anything in the service waits.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// A client of one service.
#[derive(Clone, Copy, Debug)]
pub struct Clerk {
    /// Where the service is.
    pub server: SocketAddr,
}

/// What a service answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub text: String,
}

/// A request got no answer, or one that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ClerkError {
    /// There was no answer.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),

    /// The service could not say.
    #[error("{}: {}", .0.status, .0.text)]
    Refused(Answer),

    /// The answer is no applicant.
    #[error("the answer makes no sense: {0}")]
    Nonsense(#[from] serde_json::Error),
}

impl Clerk {
    /// Sends a request in somebody's name.
    ///
    /// # Errors
    ///
    /// If there is no answer within a minute.
    pub async fn send(
        self,
        method: Method,
        path: &str,
        who: &str,
        body: &Value,
    ) -> Result<Answer, ClerkError> {
        let head = Request::builder()
            .method(method)
            .uri(path)
            .header(USER, who)
            .header(CONTENT_TYPE, "application/json");
        self.answer(head, body.to_string()).await
    }

    /// Reads a path.
    ///
    /// # Errors
    ///
    /// If there is no answer within a minute.
    pub async fn get(self, path: &str) -> Result<Answer, ClerkError> {
        self.answer(Request::builder().uri(path), String::new())
            .await
    }

    /// An applicant as the service shows it, if there is one.
    ///
    /// # Errors
    ///
    /// If the service does not say.
    pub async fn look_up(self, id: i64) -> Result<Option<Applicant>, ClerkError> {
        let answer = self.get(&format!("/applicants/{id}")).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(serde_json::from_str(&answer.text)?)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(ClerkError::Refused(answer)),
        }
    }

    async fn answer(self, head: Builder, body: String) -> Result<Answer, ClerkError> {
        let mut client = Client::new(self.server, ANSWER_LIMIT);
        let answer = client.send(head, body).await?;
        Ok(Answer {
            status: answer.status,
            text: String::from_utf8_lossy(&answer.body).into_owned(),
        })
    }
}
