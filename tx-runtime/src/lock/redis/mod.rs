//! Locks in Redis: leases that are renewed while they are held, with fencing tokens.
//!
//! A lease can be lost while its holder still believes in it: the process is paused, or Redis
//! forgets. What protects the data then is not Redis but the database, which keeps the
//! greatest token it has seen and refuses transactions that come with a smaller one.

mod claim;
mod holder;
mod lease;
mod link;
mod script;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use redis::{Client, RedisError};

use self::claim::Claim;
use self::holder::Signature;
use self::link::Link;
use super::provider::{LockFailure, LockFuture, LockHold, LockProvider, LockRequest};
use super::queue::LockQueue;

/// How long a lease is unless the provider was given another length.
const DEFAULT_LEASE: Duration = Duration::from_secs(30);

/// Below this a lease would be over before its first renewal is answered.
const SHORTEST_LEASE: Duration = Duration::from_millis(10);

/// Above this it would be no lease.
const LONGEST_LEASE: Duration = Duration::from_hours(24);

/// Locks in Redis, among all processes that use the same Redis with the same prefix.
///
/// A lock is a lease: it is renewed at a third of its length for as long as it is held, and
/// comes free by itself when its holder is gone. Before every COMMIT under it Redis is asked
/// whether it is still ours; if it is not, the transaction is rolled back with
/// [`Error::LockLost`](crate::Error::LockLost).
///
/// That question can be answered too early, so every acquisition also gets a number greater
/// than all before it, and each transaction under the lock first writes that number into the
/// table `tx_fence` of its own database. A holder that was paused past its lease finds a
/// greater number there and is refused; one that is in the middle of a transaction keeps its
/// successor waiting at that row until it has ended. So whatever becomes of Redis (paused,
/// killed, flushed, restarted empty), no update made in a transaction under the lock is
/// overwritten by a holder who had not seen it. Each protected database needs the table: see
/// [`Db::create_fence_table`](crate::Db::create_fence_table).
///
/// Not protected are statements outside of a transaction, and what is not in that database:
/// give such services the number themselves, if they can compare it.
///
/// One connection is shared by all calls and replaced when it fails. A call that Redis does
/// not answer within 2 seconds fails with
/// [`Error::LockUnavailable`](crate::Error::LockUnavailable). Taking one lock or several is
/// one round trip, as are the question before COMMIT and the opening. Who waits for a lock
/// that another process holds asks again after 10 to 250 milliseconds; callers of this
/// process wait in line and do not ask.
///
/// Clones are the same provider. Needs the feature `redis`.
///
/// ```no_run
/// # #[cfg(feature = "postgres")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use tx_runtime::{Error, Lock, PgDb, RedisLocks};
///
/// let db = PgDb::connect("postgres://localhost/shop").await?;
/// db.create_fence_table().await?;
/// let redis = RedisLocks::connect("redis://localhost").await?.lease(Duration::from_secs(20));
/// db.locked(Lock::key("stock:42").on(&redis), async || {
///     db.transaction(async || {
///         sqlx::query("update stock set left_over = left_over - 1 where id = 42")
///             .execute(&db)
///             .await?;
///         Ok::<_, Error>(())
///     })
///     .await
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RedisLocks {
    queue: LockQueue,
    link: Link,
    lease: Duration,
    prefix: Arc<str>,
    signature: Arc<Signature>,
    floor: Floor,
}

impl RedisLocks {
    /// Locks in the Redis at `url`, with leases of 30 seconds and the prefix `tx:`.
    ///
    /// `redis://[user:password@]host[:port][/database]`, or `redis+unix:///path`.
    ///
    /// # Errors
    ///
    /// If the URL is malformed or Redis does not answer.
    pub async fn connect(url: &str) -> Result<Self, RedisError> {
        let locks = Self::new(Client::open(url)?);
        locks.link.connect().await?;
        Ok(locks)
    }

    /// As [`connect`](Self::connect), for a client made elsewhere, and without connecting yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            queue: LockQueue::new(),
            link: Link::new(client),
            lease: DEFAULT_LEASE,
            prefix: "tx:".into(),
            signature: Arc::new(Signature::of_this_process()),
            floor: Floor::default(),
        }
    }

    /// How long a lock stays shut after its holder has gone without opening it; 30 seconds by
    /// default, and at least 10 milliseconds and at most a day.
    ///
    /// A holder that is paused for longer loses its lock, so a short lease costs rolled back
    /// transactions, and a long one costs waiting after a crash.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.clamp(SHORTEST_LEASE, LONGEST_LEASE);
        self
    }

    /// What the names of keys in Redis begin with, `tx:` by default.
    ///
    /// Locks of different prefixes do not exclude each other, nor do those of this value and
    /// of its clones from before.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into().into();
        self.queue = LockQueue::new();
        self
    }
}

impl LockProvider for RedisLocks {
    fn queue(&self) -> &LockQueue {
        &self.queue
    }

    fn acquire<'a>(
        &'a self,
        request: LockRequest<'a>,
    ) -> LockFuture<'a, Result<Option<Box<dyn LockHold>>, LockFailure>> {
        Box::pin(async move {
            let lease = Claim::new(self, &request).take(request.wait).await?;
            Ok(Some(Box::new(lease) as Box<dyn LockHold>))
        })
    }
}

/// The greatest token that this provider has seen, wherever: a Redis that has forgotten its
/// own must not begin below it.
#[derive(Clone, Debug, Default)]
struct Floor(Arc<AtomicI64>);

impl Floor {
    fn get(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }

    fn raise(&self, token: i64) {
        self.0.fetch_max(token, Ordering::AcqRel);
    }
}
