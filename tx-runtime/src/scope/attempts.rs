//! A scope that is run again after a conflict.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ending::Ending;
use super::running::{Lived, deadline_to_be, live};
use super::{Position, Scope};
use crate::aftermath::{self, Aftermath};
use crate::chain;
use crate::deadline::Deadline;
use crate::dialect::Dialect;
use crate::error::Error;
use crate::lock::Held;
use crate::options::TransactionOptions;
use crate::propagation::Entry;
use crate::result::TransactionResult;
use crate::retry::Retry;
use crate::rules::{RuledOptions, Rules};
use crate::source::Source;

/// The attempts at one scope.
pub(crate) struct Attempts<DB: Dialect, T, E> {
    source: Arc<Source<DB>>,
    options: RuledOptions<T, E>,
    retry: Retry,
    made: u32,
    /// The end of the time for all of them.
    deadline: Option<Deadline>,
    /// What the last attempt has left to do.
    aftermath: Option<Aftermath>,
}

impl<DB: Dialect, T, E: From<Error>> Attempts<DB, T, E> {
    pub(crate) fn new(
        source: &Arc<Source<DB>>,
        mut options: RuledOptions<T, E>,
        retry: Retry,
    ) -> Self {
        options.options.since.get_or_insert_with(Instant::now);
        Self {
            deadline: deadline_to_be(source, &options.options),
            source: Arc::clone(source),
            options,
            retry,
            made: 0,
            aftermath: None,
        }
    }

    pub(crate) fn rules(&self) -> Rules<T, E> {
        self.options.rules
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Makes an attempt; `None` if another one is to follow, which may be made at once.
    pub(crate) async fn make<R, F>(&mut self, body: F) -> Option<R>
    where
        R: TransactionResult<Ok = T, Error = E>,
        F: AsyncFnOnce() -> R,
    {
        let RuledOptions { mut options, rules } = self.options.clone();
        options.attempt = self.made + 1;
        let scope = self
            .check_ownership()
            .and_then(|()| Scope::enter(&self.source, &options));
        let scope = match scope {
            Ok(scope) => scope,
            Err(refused) => return Some(R::from_result(Err(refused.into()))),
        };
        scope.is_all_under(lock_over_attempts(&options).as_ref());
        let lived = live(scope, rules, body, false).await;
        let Lived {
            result,
            aftermath,
            ending,
            ..
        } = lived;
        self.made += 1;
        let wait = match ending {
            Ending::Conflict => self.retry.wait_after(self.made),
            Ending::Unknown if self.retry.is_idempotent() => self.retry.wait_after(self.made),
            Ending::Unknown | Ending::Final => None,
        };
        let in_time = |wait: &Duration| !self.deadline.is_some_and(|end| end.is_within(*wait));
        let Some(wait) = wait.filter(in_time) else {
            if ending == Ending::Conflict {
                tracing::warn!(function = %options.site, attempts = self.made, "the last attempt has ended in a conflict too");
            }
            self.aftermath = aftermath;
            return Some(result);
        };
        if let Some(aftermath) = aftermath {
            aftermath.discard();
        }
        tracing::debug!(function = %options.site, attempt = self.made, ?wait, "a conflict; the scope is run again");
        tokio::time::sleep(wait).await;
        None
    }

    /// Runs the hooks of the last attempt.
    pub(crate) async fn settle(self) {
        aftermath::settle(self.aftermath).await;
    }

    /// Only the owner of a transaction can begin it anew.
    fn check_ownership(&self) -> Result<(), Error> {
        let options = &self.options.options;
        let position = chain::current(|frame| Position::nearest(&self.source, frame));
        match options.propagation.entry(position.is_some()) {
            Entry::Begin | Entry::BeginUnderLock => Ok(()),
            _ => Err(Error::RetryWithoutOwnership {
                function: options.site,
                propagation: options.propagation,
            }),
        }
    }
}

/// The lock that was taken for all attempts.
fn lock_over_attempts(options: &TransactionOptions) -> Option<Arc<Held>> {
    let mut locks = chain::locks_of_nobody().into_iter();
    locks.find(|held| held.function() == options.site)
}
