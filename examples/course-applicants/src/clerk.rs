//! A member of the staff, at a desk with a client of the service.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

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
    /// The service could not be reached.
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),

    /// The connection broke, or HTTP was not spoken on it.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),

    /// The path cannot stand in a request.
    #[error("not a path: {0}")]
    Path(#[from] hyper::http::Error),

    /// The service took too long.
    #[error("no answer within {ANSWER_LIMIT:?}")]
    Timeout,

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
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.server.to_string())
            .header(USER, who)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))?;
        self.answer(request).await
    }

    /// Reads a path.
    ///
    /// # Errors
    ///
    /// If there is no answer within a minute.
    pub async fn get(self, path: &str) -> Result<Answer, ClerkError> {
        let request = Request::builder()
            .uri(path)
            .header(HOST, self.server.to_string())
            .body(Full::default())?;
        self.answer(request).await
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

    async fn answer(self, request: Request<Full<Bytes>>) -> Result<Answer, ClerkError> {
        let answer = tokio::time::timeout(ANSWER_LIMIT, exchange(self.server, request)).await;
        answer.unwrap_or(Err(ClerkError::Timeout))
    }
}

async fn exchange(server: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer, ClerkError> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It ends with the sender, which is told whatever goes wrong.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer {
        status: head.status,
        text: String::from_utf8_lossy(&body).into_owned(),
    })
}
