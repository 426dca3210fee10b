//! From asking to holding: the turn in this process first, then the provider.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Instrument as _;

use super::held::{Beyond, Held};
use super::provider::{LockFailure, LockProvider, LockRequest};
use super::queue::{LockQueue, Turn};
use super::request::Bound;
use crate::error::Error;
use crate::identity::DbId;
use crate::site::Site;

/// The locks that a call wants and does not hold yet.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    function: Site,
    keys: Vec<Arc<str>>,
    wait: Duration,
    label: Option<Arc<str>>,
    provider: Arc<dyn LockProvider>,
}

impl Bound {
    /// What is still to be taken where `has` tells what is held already.
    pub(crate) fn wanted(
        &self,
        function: Site,
        has: impl Fn(&LockQueue, &str) -> bool,
    ) -> Result<Wanted, Error> {
        self.check(function)?;
        let provider = Arc::clone(&self.provider);
        let lacking = self.keys.iter().filter(|key| !has(provider.queue(), key));
        Ok(Wanted {
            function,
            keys: lacking.cloned().collect(),
            wait: self.wait,
            label: self.label.clone(),
            provider,
        })
    }
}

impl Wanted {
    pub(crate) fn is_held_already(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether `has` tells of one of the locks that it is held.
    pub(crate) fn is_outdated(&self, has: impl Fn(&LockQueue, &str) -> bool) -> bool {
        let queue = self.provider.queue();
        self.keys.iter().any(|key| has(queue, key))
    }

    /// What is still to be taken, now that time has passed.
    pub(crate) fn still(mut self, has: impl Fn(&LockQueue, &str) -> bool) -> Self {
        self.keys.retain(|key| !has(self.provider.queue(), key));
        self
    }

    /// Whether the locks are kept on the connections of `db`.
    pub(crate) fn lives_on(&self, db: DbId) -> bool {
        self.provider.database() == Some(db)
    }

    pub(crate) fn keys(&self) -> &[Arc<str>] {
        &self.keys
    }

    /// The keys in words.
    pub(crate) fn text(&self) -> String {
        self.keys.join("`, `")
    }

    /// Takes the locks, apart from any transaction.
    pub(crate) async fn take(self) -> Result<Arc<Held>, Error> {
        let span = self.waiting();
        async {
            if self.provider.keeps_line() {
                let beyond = self.acquire(self.wait).await?;
                let given = self.keys.iter().map(|key| self.provider.queue().given(key));
                return Ok(Held::new(self.function, given.collect(), beyond));
            }
            let (turns, left) = self.turns().await?;
            let beyond = self.acquire(left).await?;
            Ok(Held::new(self.function, turns, beyond))
        }
        .instrument(span)
        .await
    }

    /// Takes the turns in this process for locks that a transaction is to take on its own
    /// connection, and tells how long that may wait.
    pub(crate) async fn take_turns(self) -> Result<(Arc<Held>, Duration), Error> {
        let span = self.waiting();
        async {
            let (turns, left) = self.turns().await?;
            Ok((Held::new(self.function, turns, Beyond::Connection), left))
        }
        .instrument(span)
        .await
    }

    fn waiting(&self) -> tracing::Span {
        tracing::debug_span!(
            "lock.wait",
            key = %self.text(),
            function = self.function.name(),
            label = self.label.as_deref()
        )
    }

    /// The turns, one after another in the order of the keys, and what is left of the wait.
    async fn turns(&self) -> Result<(Vec<Turn>, Duration), Error> {
        let started = Instant::now();
        let mut turns = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            let left = self.wait.saturating_sub(started.elapsed());
            turns.push(self.provider.queue().turn(key, self.function, left).await?);
        }
        // Only a call that may not wait at all is told to try once.
        let least = Duration::from_millis(1).min(self.wait);
        let left = self.wait.saturating_sub(started.elapsed()).max(least);
        Ok((turns, left))
    }

    async fn acquire(&self, wait: Duration) -> Result<Beyond, Error> {
        let started = Instant::now();
        let request = LockRequest {
            keys: &self.keys,
            wait,
            function: self.function,
            label: self.label.as_deref(),
        };
        match self.provider.acquire(request).await {
            Ok(Some(hold)) => Ok(Beyond::Provider(hold)),
            Ok(None) => Ok(Beyond::Nothing),
            Err(failure) => Err(self.refused(failure, started.elapsed())),
        }
    }

    fn refused(&self, failure: LockFailure, waited: Duration) -> Error {
        let (function, key) = (self.function, self.text());
        match failure {
            LockFailure::Busy { holder } => Error::LockTimeout {
                function,
                key,
                waited,
                holder,
            },
            LockFailure::Lost => Error::LockLost { function, key },
            // The error of a `Db` that keeps locks is one of ours.
            LockFailure::Failed(source) => match source.downcast() {
                Ok(own) => *own,
                Err(source) => Error::LockUnavailable {
                    function,
                    key,
                    source,
                },
            },
        }
    }
}
