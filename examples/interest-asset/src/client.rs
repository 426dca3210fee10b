//! A user's application: one connection that is kept open, one request at a time on it.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderMap};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long a client waits for an answer; longer than anything in the service waits.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// A client of one service.
#[derive(Debug)]
pub struct Client {
    server: SocketAddr,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

/// What a service answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// A request got no answer, and may or may not have been carried out.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
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
}

impl Client {
    /// A client that will connect to `server` with its first request.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            connection: None,
        }
    }

    /// Sends a request without a body and reads the answer.
    ///
    /// # Errors
    ///
    /// If there is no answer within a minute.
    pub async fn send(&mut self, method: Method, path: &str) -> Result<Answer, ClientError> {
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.exchange(method, path)).await;
        answer.unwrap_or(Err(ClientError::Timeout))
    }

    async fn exchange(&mut self, method: Method, path: &str) -> Result<Answer, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.server.to_string())
            .body(Empty::new())?;
        // Taken out, so that a connection on which anything goes wrong is not used again.
        let mut connection = match self.connection.take() {
            Some(open) if !open.is_closed() => open,
            _ => connect(self.server).await?,
        };
        connection.ready().await?;
        let (head, body) = connection.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        self.connection = Some(connection);
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

async fn connect(server: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, ClientError> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It ends with the sender, which is told whatever goes wrong.
    tokio::spawn(connection);
    Ok(sender)
}
