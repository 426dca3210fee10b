//! What Redis is told: three scripts, each of which runs there without interruption.
//!
//! A lock is a key whose value names its holder and which expires with the lease. Beside it
//! stands the lock's last token, which outlives the lease.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{Script, ScriptInvocation};

use super::Floor;
use super::holder;
use super::link::{ANSWER_LIMIT, Link, NoAnswer};
use crate::lock::provider::LockRequest;

/// How much longer than a lease its last token is kept.
///
/// Tokens follow the clock of Redis, so one that is forgotten does no harm unless that clock
/// is set back; this is how far back it may be set.
const TOKEN_MEMORY: Duration = Duration::from_hours(24);

/// Takes all locks or none. Tokens are microseconds of Redis's clock, and greater than the
/// last one and the floor: a Redis that has lost its data goes on where it was.
///
/// KEYS: of each lock its own and its token's. ARGV: holder, lease, floor, memory of tokens.
/// Gives the tokens, or nothing and another holder.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "for i = 1, #KEYS, 2 do
           local holder = redis.call('GET', KEYS[i])
           if holder and holder ~= ARGV[1] then return {{}, holder} end
         end
         local clock = redis.call('TIME')
         local least = math.max(tonumber(ARGV[3]), clock[1] * 1000000 + clock[2])
         local tokens = {}
         for i = 1, #KEYS, 2 do
           local last = tonumber(redis.call('GET', KEYS[i + 1]) or 0)
           local token = math.max(least, last) + 1
           redis.call('SET', KEYS[i + 1], string.format('%.0f', token), 'PX', ARGV[4])
           redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
           tokens[#tokens + 1] = token
         end
         return {tokens, false}",
    )
});

/// Begins the lease anew if all locks are still the holder's: 1, or else 0.
///
/// KEYS: the locks. ARGV: holder, lease.
static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "for i = 1, #KEYS do
           if redis.call('GET', KEYS[i]) ~= ARGV[1] then return 0 end
         end
         for i = 1, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
         return 1",
    )
});

/// Opens those locks that are still the holder's, and gives their number.
///
/// KEYS: the locks. ARGV: holder.
static OPEN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local opened = 0
         for i = 1, #KEYS do
           if redis.call('GET', KEYS[i]) == ARGV[1] then
             opened = opened + redis.call('DEL', KEYS[i])
           end
         end
         return opened",
    )
});

/// How an attempt to take locks went.
#[derive(Debug)]
pub(super) enum Attempt {
    /// With a token for each key, in their order.
    Taken(Vec<i64>),
    /// By whom.
    Busy(String),
}

/// Locks by name and holder: what all three scripts are about.
#[derive(Clone)]
pub(super) struct Record {
    link: Link,
    keys: Vec<Arc<str>>,
    prefix: Arc<str>,
    holder: String,
    lease: Duration,
}

impl Record {
    pub(super) fn new(
        link: &Link,
        prefix: &Arc<str>,
        request: &LockRequest<'_>,
        holder: String,
        lease: Duration,
    ) -> Self {
        Self {
            link: link.clone(),
            keys: request.keys.to_vec(),
            prefix: Arc::clone(prefix),
            holder,
            lease,
        }
    }

    pub(super) fn keys(&self) -> &[Arc<str>] {
        &self.keys
    }

    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    pub(super) async fn take(&self, floor: &Floor) -> Result<Attempt, NoAnswer> {
        let mut take = TAKE.prepare_invoke();
        for key in &self.keys {
            take.key(self.name(key)).key(self.name_of_token(key));
        }
        take.arg(&self.holder)
            .arg(milliseconds(self.lease))
            .arg(floor.get())
            .arg(milliseconds(self.lease + TOKEN_MEMORY));
        let answer = self.link.ask(&take, ANSWER_LIMIT).await?;
        let (tokens, holder): (Vec<i64>, Option<Vec<u8>>) = answer;
        Ok(match holder {
            Some(holder) => Attempt::Busy(holder::in_words(&holder)),
            None => Attempt::Taken(tokens),
        })
    }

    /// Whether the locks were still ours, and so are for another lease.
    pub(super) async fn renew(&self) -> Result<bool, NoAnswer> {
        let mut renew = self.about(&RENEW);
        renew.arg(milliseconds(self.lease));
        // An answer that takes longer than the lease comes too late.
        let limit = ANSWER_LIMIT.min(self.lease);
        let renewed: i64 = self.link.ask(&renew, limit).await?;
        Ok(renewed == 1)
    }

    /// Whether the locks were ours until now.
    pub(super) async fn open(&self) -> Result<bool, NoAnswer> {
        let opened: usize = self.link.tell(&self.about(&OPEN), ANSWER_LIMIT).await?;
        Ok(opened == self.keys.len())
    }

    fn about<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut about = script.prepare_invoke();
        for key in &self.keys {
            about.key(self.name(key));
        }
        about.arg(&self.holder);
        about
    }

    fn name(&self, key: &str) -> String {
        format!("{}lock:{key}", self.prefix)
    }

    fn name_of_token(&self, key: &str) -> String {
        format!("{}token:{key}", self.prefix)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("keys", &self.keys)
            .field("holder", &self.holder)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
