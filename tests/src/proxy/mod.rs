//! A wire one can read, slow down and cut: a TCP proxy that understands just enough of the
//! PostgreSQL and MySQL protocols to say what the server was sent.

mod event;
mod frame;
mod mysql;
mod postgres;
mod relay;
mod trap;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use frame::{Frame, Side, Strike};
pub use trap::Trap;
use trap::{Armed, Moment, Prey};

/// Which protocol the proxy reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// PostgreSQL 3.0.
    Postgres,
    /// MySQL, as spoken to MariaDB too.
    MySql,
}

/// How answers arrive at the client.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// At most this many bytes at once.
    pub chunk: usize,
    /// The time before each of them.
    pub delay: Duration,
    /// What decides how late each message passes, both ways.
    pub jitter: Option<Jitter>,
}

/// Delays that differ from message to message.
#[derive(Clone, Copy, Debug)]
pub struct Jitter {
    /// Where the row of delays begins.
    pub seed: u64,
    /// The longest. Seven of eight messages are not delayed at all; every third that ends a
    /// transaction is, by up to eight times as much.
    pub most: Duration,
}

impl Shape {
    /// Answers pass as they come.
    pub const WHOLE: Self = Self {
        chunk: usize::MAX,
        delay: Duration::ZERO,
        jitter: None,
    };

    /// Answers arrive in pieces of `chunk` bytes, `delay` before each.
    #[must_use]
    pub const fn pieces(chunk: usize, delay: Duration) -> Self {
        Self {
            chunk,
            delay,
            jitter: None,
        }
    }

    /// Some messages, of either side, are late by something up to `most`.
    #[must_use]
    pub const fn late(seed: u64, most: Duration) -> Self {
        Self {
            jitter: Some(Jitter { seed, most }),
            ..Self::WHOLE
        }
    }
}

/// What all connections of a proxy share.
struct Shared {
    shape: Shape,
    /// How many messages have been delayed, or might have been.
    delays: AtomicU64,
    round_trips: AtomicUsize,
    log: Mutex<Vec<(usize, String)>>,
    frames: Mutex<Vec<Frame>>,
    traps: Mutex<Vec<Armed>>,
    /// Whether new connections are closed at once.
    shut: AtomicBool,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Vec<(usize, String)>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn traps(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.traps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How late the next message passes. `ends`: it ends a transaction.
    fn lateness(&self, ends: bool) -> Duration {
        let Some(Jitter { seed, most }) = self.shape.jitter else {
            return Duration::ZERO;
        };
        let at = self.delays.fetch_add(1, Ordering::Relaxed);
        let dice = scrambled(seed.wrapping_add(at));
        let share = u32::try_from(dice >> 32).unwrap_or(0) / 2;
        // What is decided by the order in which transactions end is seen best when ends are
        // slow.
        let (odds, most) = if ends { (3, 8 * most) } else { (8, most) };
        match dice % odds {
            1.. => Duration::ZERO,
            0 => most.mul_f64(f64::from(share) / f64::from(u32::MAX / 2)),
        }
    }

    fn frames(&self) -> MutexGuard<'_, Vec<Frame>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a message that is about to pass and takes the first trap that it springs; each
    /// springs once. `text`: what the log says about it.
    fn sprung(&self, side: Side, text: Option<&str>) -> Option<Armed> {
        let mut frames = self.frames();
        let number = frames.len();
        frames.push(Frame {
            side,
            event: text.and_then(event::of),
        });
        let mut traps = self.traps();
        let at = traps.iter().position(|trap| trap.is_for(number, text))?;
        Some(traps.remove(at))
    }
}

/// The finalizer of `SplitMix64`: neighbouring numbers come out unlike each other.
fn scrambled(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// One of the `cut` and `hold` methods of [`Proxy`].
pub type Lay = fn(&Proxy, &str) -> Trap;

/// A proxy in front of a server; it ends, and cuts its connections, when dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a local port and passes connections on to `upstream` (`host:port`).
    ///
    /// # Panics
    ///
    /// If there is no free port.
    pub async fn start(upstream: &str, protocol: Protocol, shape: Shape) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let shared = Arc::new(Shared {
            shape,
            delays: AtomicU64::new(0),
            round_trips: AtomicUsize::new(0),
            log: Mutex::default(),
            frames: Mutex::default(),
            traps: Mutex::default(),
            shut: AtomicBool::new(false),
        });
        let accepting = tokio::spawn(accept(
            listener,
            upstream.to_owned(),
            protocol,
            Arc::clone(&shared),
        ));
        Self {
            port,
            shared,
            accepting,
        }
    }

    /// The local port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every message that reached the server, with the number of its connection, in order.
    ///
    /// SQL stands as it was sent, resolved for prepared statements; preparing one is
    /// `PREPARE ` and its SQL. A ping is `PING` on MySQL and `SYNC` on PostgreSQL. Messages
    /// that are neither, such as closing a statement, are left out.
    #[must_use]
    pub fn log(&self) -> Vec<(usize, String)> {
        self.shared.log().clone()
    }

    /// [`log`](Self::log) without preparing and pings: what the server executed.
    #[must_use]
    pub fn executed(&self) -> Vec<(usize, String)> {
        let mut log = self.log();
        log.retain(|(_, message)| event::is_execution(message));
        log
    }

    /// The transaction's life in [`log`](Self::log), in words that are the same on every
    /// database: `BEGIN`, `SAVEPOINT`, `RELEASE`, `ROLLBACK TO`, `COMMIT`, `ROLLBACK`.
    #[must_use]
    pub fn events(&self) -> Vec<(usize, &'static str)> {
        let log = self.shared.log();
        log.iter()
            .filter_map(|(connection, message)| Some((*connection, event::of(message)?)))
            .collect()
    }

    /// Round trips so far, not counting those that set up connections.
    #[must_use]
    pub fn round_trips(&self) -> usize {
        self.shared.round_trips.load(Ordering::SeqCst)
    }

    /// Every message of either side so far, in the order in which they passed; but no client's
    /// farewell, which comes whenever it has time to.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        self.shared.frames().clone()
    }

    /// Empties the log, begins to count messages and round trips anew and removes traps.
    pub fn clear(&self) {
        self.shared.log().clear();
        self.shared.frames().clear();
        self.shared.traps().clear();
        self.shared.round_trips.store(0, Ordering::SeqCst);
    }

    /// Cuts the connection instead of forwarding the next message that matches.
    ///
    /// `pattern` is a word of [`events`](Self::events) (`COMMIT` is then whatever commits on
    /// this database, and `ROLLBACK` not a BEGIN that rolls back first), `PREPARE`, or
    /// a part of the text of an executed message, in any case. Each call springs once.
    #[expect(clippy::must_use_candidate, reason = "it springs watched or not")]
    pub fn cut_before(&self, pattern: &str) -> Trap {
        self.arm(Moment::CutBefore, pattern)
    }

    /// Forwards the next message that matches, waits until the server answers, and cuts the
    /// connection instead of passing the answer on.
    #[expect(clippy::must_use_candidate, reason = "it springs watched or not")]
    pub fn cut_after(&self, pattern: &str) -> Trap {
        self.arm(Moment::CutAfter, pattern)
    }

    /// Passes the next message that matches on to the server and cuts the connection while it
    /// is at work on it.
    #[expect(clippy::must_use_candidate, reason = "it springs watched or not")]
    pub fn cut_during(&self, pattern: &str) -> Trap {
        self.arm(Moment::CutDuring, pattern)
    }

    /// Cuts the next message that matches in its middle, and the connection with it.
    #[expect(clippy::must_use_candidate, reason = "it springs watched or not")]
    pub fn cut_within(&self, pattern: &str) -> Trap {
        self.arm(Moment::CutWithin(128), pattern)
    }

    /// Cuts the connection in the middle of the answer to the next message that matches.
    #[expect(clippy::must_use_candidate, reason = "it springs watched or not")]
    pub fn cut_answering(&self, pattern: &str) -> Trap {
        self.arm(Moment::CutAnswering, pattern)
    }

    /// Takes the next message that matches and closes the client's side; the server goes on
    /// waiting for it.
    #[expect(clippy::must_use_candidate, reason = "it springs watched or not")]
    pub fn swallow(&self, pattern: &str) -> Trap {
        self.arm(Moment::Swallow, pattern)
    }

    /// Closes new connections at once, or lets them in again.
    pub fn shut(&self, shut: bool) {
        self.shared.shut.store(shut, Ordering::SeqCst);
    }

    /// Keeps the next message that matches from the server until [`Trap::release`].
    #[must_use]
    pub fn hold_before(&self, pattern: &str) -> Trap {
        self.arm(Moment::HoldBefore, pattern)
    }

    /// Keeps the answer to the next message that matches from the client until
    /// [`Trap::release`].
    #[must_use]
    pub fn hold_after(&self, pattern: &str) -> Trap {
        self.arm(Moment::HoldAfter, pattern)
    }

    /// Strikes at the message that will stand at `number` of [`frames`](Self::frames).
    #[must_use]
    pub fn strike(&self, number: usize, strike: Strike) -> Trap {
        self.lay(strike.moment(), Prey::Number(number))
    }

    fn arm(&self, moment: Moment, pattern: &str) -> Trap {
        self.lay(moment, Prey::Text(pattern.to_owned()))
    }

    fn lay(&self, moment: Moment, prey: Prey) -> Trap {
        let (armed, trap) = Armed::new(moment, prey);
        self.shared.traps().push(armed);
        trap
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("port", &self.port)
            .field("round_trips", &self.round_trips())
            .finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, upstream: String, protocol: Protocol, shared: Arc<Shared>) {
    // Ends with this task, and its connections with it.
    let mut connections = JoinSet::new();
    let mut number = 0;
    while let Ok((client, _)) = listener.accept().await {
        if shared.shut.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(server) = TcpStream::connect(&upstream).await else {
            continue;
        };
        connections.spawn(relay::run(
            number,
            client,
            server,
            protocol,
            Arc::clone(&shared),
        ));
        number += 1;
        while connections.try_join_next().is_some() {}
    }
}
