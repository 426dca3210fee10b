//! A client of a service: one connection that is kept open, one request at a time on it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderMap};
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A client of one service.
#[derive(Debug)]
pub struct Client {
    server: SocketAddr,
    limit: Duration,
    connection: Option<SendRequest<Full<Bytes>>>,
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
pub enum NoAnswer {
    /// The service could not be reached.
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),

    /// The connection broke, or HTTP was not spoken on it.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),

    /// It cannot be sent.
    #[error("no request: {0}")]
    Request(#[from] hyper::http::Error),

    /// The service took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

impl Client {
    /// A client that will connect to `server` with its first request, and waits for each answer as
    /// long as `limit`.
    #[must_use]
    pub fn new(server: SocketAddr, limit: Duration) -> Self {
        Self {
            server,
            limit,
            connection: None,
        }
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    ///
    /// If there is none in time.
    pub async fn send(
        &mut self,
        head: Builder,
        body: impl Into<Bytes>,
    ) -> Result<Answer, NoAnswer> {
        let host = self.server.to_string();
        let request = head.header(HOST, host).body(Full::new(body.into()))?;
        let limit = self.limit;
        let answer = tokio::time::timeout(limit, self.exchange(request)).await;
        answer.unwrap_or(Err(NoAnswer::Timeout(limit)))
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
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

async fn connect(server: SocketAddr) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It ends with the sender, which is told whatever goes wrong.
    tokio::spawn(connection);
    Ok(sender)
}
