//! One connection through the proxy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout};

use super::frame::Side;
use super::trap::{Armed, HOLD_LIMIT, Moment};
use super::{Protocol, Shared, event, mysql, postgres};

/// An answer whose end we do not recognize is taken to be over after this silence.
const SILENCE: Duration = Duration::from_millis(100);

/// One message from the client.
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    /// What the log says about it; `None` for messages of no interest.
    pub(super) text: Option<String>,
    /// Whether the server answers to it, as a round trip of its own or with its neighbours.
    pub(super) answered: bool,
    /// Whether it is the last, and of no consequence.
    pub(super) farewell: bool,
}

/// What reads one direction each of one connection's protocol.
pub(super) trait Wire: Send {
    /// Takes in bytes from the client; gives the messages that are complete now.
    fn take_from_client(&mut self, bytes: &[u8]) -> Vec<Message>;

    /// Takes in bytes from the server, for what later messages refer to.
    fn take_from_server(&mut self, bytes: &[u8]);

    /// How long the first message in `bytes` from the server is, once that can be told.
    fn length_from_server(&self, bytes: &[u8]) -> Option<usize>;

    /// Whether `answer` is all that the server says to one message, which it has then
    /// executed to its last statement.
    fn is_whole(&self, answer: &[u8]) -> bool;
}

/// Passes bytes both ways until either side closes or a trap cuts the connection.
///
/// Both directions run in one task, so that whatever makes it end closes both sockets.
pub(super) async fn run(
    number: usize,
    mut client: TcpStream,
    mut server: TcpStream,
    protocol: Protocol,
    shared: Arc<Shared>,
) {
    let wire: Box<dyn Wire> = match protocol {
        Protocol::Postgres => Box::new(postgres::Reader::default()),
        Protocol::MySql => Box::new(mysql::Reader::default()),
    };
    // Chunks are to arrive one by one, and small messages at once.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let relay = Relay {
        number,
        wire: tokio::sync::Mutex::new(State {
            wire,
            awaiting: false,
            after: None,
        }),
        shared,
    };
    let end = tokio::select! {
        end = relay.upwards(from_client, to_server) => end,
        end = relay.downwards(from_server, to_client) => end,
    };
    if let Ok(End::Swallowed) = end {
        drop(client);
        // Whatever the server says, nobody hears it.
        drop(
            timeout(
                HOLD_LIMIT,
                tokio::io::copy(&mut server, &mut tokio::io::sink()),
            )
            .await,
        );
    }
}

/// How one direction of a connection ends.
enum End {
    /// One side has closed it.
    Closed,
    /// A trap has closed the client's side only.
    Swallowed,
}

struct State {
    wire: Box<dyn Wire>,
    /// Whether the client has sent something that the server has not begun to answer.
    awaiting: bool,
    /// The trap that the next answer springs.
    after: Option<Armed>,
}

struct Relay {
    number: usize,
    wire: tokio::sync::Mutex<State>,
    shared: Arc<Shared>,
}

impl Relay {
    async fn upwards(
        &self,
        mut client: ReadHalf<'_>,
        mut server: WriteHalf<'_>,
    ) -> io::Result<End> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = client.read(&mut buffer).await?;
            if read == 0 {
                return server.shutdown().await.map(|()| End::Closed);
            }
            let messages = self
                .wire
                .lock()
                .await
                .wire
                .take_from_client(&buffer[..read]);
            let mut forward = Vec::new();
            let mut ends = false;
            let mut cut = None;
            for message in messages {
                let trap = if message.farewell {
                    None
                } else {
                    self.shared.sprung(Side::Client, message.text.as_deref())
                };
                if let Some(trap) = trap.as_ref().filter(|trap| trap.moment.is_before()) {
                    let passes = trap.moment.passes(message.bytes.len());
                    forward.extend(&message.bytes[..passes]);
                    // What came before it in the same packet is the server's already.
                    send(&mut server, &mut forward).await?;
                    if let (Moment::CutBehind, Some(text)) = (trap.moment, &message.text) {
                        self.shared.log().push((self.number, text.clone()));
                    }
                    trap.spring();
                    match trap.moment {
                        Moment::HoldBefore => trap.released().await,
                        Moment::Swallow => return Ok(End::Swallowed),
                        _ => return Err(io::ErrorKind::ConnectionAborted.into()),
                    }
                }
                let mut state = self.wire.lock().await;
                state.awaiting |= message.answered;
                match trap {
                    Some(trap) if trap.moment.is_after() => state.after = Some(trap),
                    Some(trap) if trap.moment == Moment::CutDuring => cut = Some(trap),
                    _ => {}
                }
                drop(state);
                if let Some(text) = message.text {
                    ends |= matches!(event::of(&text), Some("COMMIT" | "ROLLBACK"));
                    self.shared.log().push((self.number, text));
                }
                forward.extend(message.bytes);
            }
            self.dally(ends).await;
            send(&mut server, &mut forward).await?;
            if let Some(trap) = cut {
                trap.spring();
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
    }

    /// Waits as long as the shape has this message be late.
    async fn dally(&self, ends: bool) {
        let late = self.shared.lateness(ends);
        if !late.is_zero() {
            sleep(late).await;
        }
    }

    async fn downwards(
        &self,
        mut server: ReadHalf<'_>,
        mut client: WriteHalf<'_>,
    ) -> io::Result<End> {
        let mut buffer = vec![0; 64 * 1024];
        // What has come of a message that is not complete yet.
        let mut pending = Vec::new();
        loop {
            let read = server.read(&mut buffer).await?;
            if read == 0 {
                client.write_all(&pending).await?;
                return client.shutdown().await.map(|()| End::Closed);
            }
            let after = {
                let mut state = self.wire.lock().await;
                state.wire.take_from_server(&buffer[..read]);
                if std::mem::take(&mut state.awaiting) {
                    self.shared.round_trips.fetch_add(1, Ordering::SeqCst);
                }
                state.after.take()
            };
            pending.extend(&buffer[..read]);
            if let Some(trap) = after {
                self.read_to_end_of_answer(&mut server, &mut pending)
                    .await?;
                trap.spring();
                match trap.moment {
                    Moment::HoldAfter => trap.released().await,
                    Moment::CutAnswering => {
                        client.write_all(&pending[..pending.len() / 2]).await?;
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                    _ => return Err(io::ErrorKind::ConnectionAborted.into()),
                }
            }
            self.dally(false).await;
            self.pass_on(&mut client, &mut pending).await?;
        }
    }

    /// Passes on those messages of the server that are complete.
    async fn pass_on(&self, client: &mut WriteHalf<'_>, pending: &mut Vec<u8>) -> io::Result<()> {
        let mut forward = Vec::new();
        loop {
            let length = self.wire.lock().await.wire.length_from_server(pending);
            let Some(length) = length.filter(|length| *length <= pending.len()) else {
                return self.send_in_pieces(client, &mut forward).await;
            };
            let rest = pending.split_off(length);
            let message = std::mem::replace(pending, rest);
            if let Some(trap) = self.shared.sprung(Side::Server, None) {
                forward.extend(&message[..trap.moment.passes(length)]);
                self.send_in_pieces(client, &mut forward).await?;
                trap.spring();
                if trap.moment != Moment::HoldBefore {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                trap.released().await;
            }
            forward.extend(message);
        }
    }

    async fn send_in_pieces(
        &self,
        client: &mut WriteHalf<'_>,
        bytes: &mut Vec<u8>,
    ) -> io::Result<()> {
        let shape = self.shared.shape;
        for piece in bytes.chunks(shape.chunk) {
            if !shape.delay.is_zero() {
                sleep(shape.delay).await;
            }
            client.write_all(piece).await?;
        }
        bytes.clear();
        Ok(())
    }

    async fn read_to_end_of_answer(
        &self,
        server: &mut ReadHalf<'_>,
        answer: &mut Vec<u8>,
    ) -> io::Result<()> {
        while !self.wire.lock().await.wire.is_whole(answer) {
            let before = answer.len();
            match timeout(SILENCE, server.read_buf(answer)).await {
                Ok(Ok(0)) | Err(_) => break,
                Ok(read) => drop(read?),
            }
            self.wire
                .lock()
                .await
                .wire
                .take_from_server(&answer[before..]);
        }
        Ok(())
    }
}

async fn send(server: &mut WriteHalf<'_>, bytes: &mut Vec<u8>) -> io::Result<()> {
    server.write_all(bytes).await?;
    bytes.clear();
    Ok(())
}
