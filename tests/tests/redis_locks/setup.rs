//! What the tests stand on: a Redis, and two providers that could be two processes.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tx_runtime::{Lock, RedisLocks};
use tx_tests::{Backend, Bed, RedisServer};

/// What takes longer does not come.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Long enough that no test outlives it.
pub(crate) const LONG: Duration = Duration::from_mins(10);

/// Short enough to be waited for.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// Where Redis keeps the lock `k`.
pub(crate) const KEY: &str = "tx:lock:k";

/// A Redis of the test's own, and two views of its locks that share nothing else.
pub(crate) struct Setup {
    pub(crate) redis: RedisServer,
    pub(crate) here: RedisLocks,
    pub(crate) there: RedisLocks,
}

impl Setup {
    pub(crate) async fn new(lease: Duration) -> Option<Self> {
        let redis = RedisServer::start().await?;
        Some(Self {
            here: provider(redis.url(), lease).await,
            there: provider(redis.url(), lease).await,
            redis,
        })
    }

    /// Whether somebody has the lock `k`.
    pub(crate) async fn is_held(&self) -> bool {
        self.redis.ask::<i64>(&["EXISTS", KEY]).await == 1
    }

    /// Waits until nobody has the lock `k`.
    pub(crate) async fn until_open(&self) {
        until("the lock is open", async || !self.is_held().await).await;
    }

    /// How many keys have been there until their time was over, and have not been deleted.
    pub(crate) async fn expired(&self) -> u64 {
        let stats: String = self.redis.ask(&["INFO", "stats"]).await;
        let expired = stats
            .lines()
            .find_map(|line| line.strip_prefix("expired_keys:"));
        expired
            .expect("Redis counts them")
            .trim()
            .parse()
            .expect("a number")
    }

    /// Takes the lock `k` away from its holder.
    pub(crate) async fn take_away(&self) {
        assert_eq!(self.redis.ask::<i64>(&["DEL", KEY]).await, 1, "it was held");
    }
}

pub(crate) async fn provider(url: &str, lease: Duration) -> RedisLocks {
    let locks = RedisLocks::connect(url).await;
    locks.expect("Redis answers").lease(lease)
}

/// The lock `k` of `locks`.
pub(crate) fn k(locks: &RedisLocks) -> Lock {
    Lock::key("k").on(locks)
}

/// A bed with the table of tokens.
pub(crate) async fn fenced<B: Backend>() -> Option<Bed<B>> {
    let bed = Bed::<B>::new().await?;
    bed.db.create_fence_table().await.unwrap();
    Some(bed)
}

/// Waits until `holds`, which it asks again and again.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
