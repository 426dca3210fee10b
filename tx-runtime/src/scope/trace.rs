//! What is on record of one scope: its span, how it has ended, and that it takes long.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};
use tracing::{Span, field};

use super::ending::Ending;
use crate::cause::CauseKind;
use crate::chain::Frame;
use crate::error::{Error, Outcome};
use crate::hook::Completion;
use crate::level::Level;
use crate::options::TransactionOptions;
use crate::site::Site;

/// The record of one scope.
#[derive(Clone)]
pub(crate) struct Trace {
    function: Site,
    span: Span,
    /// When it is slow, and since when it runs, as long as nobody else watches the clock.
    clock: Option<(Duration, Instant)>,
}

/// Rings once, if a scope takes long.
pub(crate) struct Alarm {
    limit: Duration,
    end: Pin<Box<Sleep>>,
    frame: Arc<Frame>,
}

impl Trace {
    /// `role`: what the scope has of a transaction.
    pub(super) fn new(
        options: &TransactionOptions,
        role: &'static str,
        slow: Option<Duration>,
    ) -> Self {
        let function = options.site;
        let span = tracing::debug_span!(
            "scope",
            function = function.name(),
            mode = %options.propagation,
            role,
            isolation = options.isolation.map(field::display),
            read_only = options.read_only,
            attempt = options.attempt,
            outcome = field::Empty,
        );
        Self {
            function,
            span,
            clock: slow.map(|limit| (limit, Instant::now())),
        }
    }

    pub(super) fn function(&self) -> Site {
        self.function
    }

    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Has the scope of `frame`, which is to be [covered](Self::cover), watched from outside.
    pub(super) fn alarm(&mut self, frame: &Arc<Frame>) -> Option<Alarm> {
        let (limit, _) = self.clock.take()?;
        Some(Alarm {
            limit,
            end: Box::pin(sleep(limit)),
            frame: Arc::clone(frame),
        })
    }

    /// Awaits what the scope does, in its span.
    pub(crate) async fn cover<T>(
        &self,
        mut alarm: Option<Alarm>,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> T {
        poll_fn(|cx| {
            // To enter one that nobody listens to costs something all the same.
            let _entered = (!self.span.is_disabled()).then(|| self.span.enter());
            if let Some(ringing) = alarm.take_if(|it| it.end.as_mut().poll(cx).is_ready()) {
                self.slow(ringing.limit, ringing.frame.is_open());
            }
            work.as_mut().poll(cx)
        })
        .await
    }

    /// The scope has ended, as `outcome` says.
    pub(super) fn end(&mut self, outcome: Option<&'static str>) {
        if let Some(outcome) = outcome {
            self.span.record("outcome", outcome);
        }
        if let Some((limit, since)) = self.clock.take()
            && since.elapsed() > limit
        {
            self.slow(limit, false);
        }
    }

    fn slow(&self, limit: Duration, open: bool) {
        tracing::warn!(function = %self.function, ?limit, open, "a scope takes long");
    }
}

/// How the owner of a transaction has ended, in a word.
pub(super) fn of_owner(
    root: &Arc<Level>,
    completion: Completion,
    ending: Ending,
    ended: &Result<(), Error>,
) -> &'static str {
    let late = |root: &Arc<Level>| {
        let doom = root.verdict();
        doom.is_some_and(|doom| doom.cause.kind() == CauseKind::TimedOut)
    };
    match (completion, ended) {
        (Completion::RolledBack, _) if ending == Ending::Conflict => "conflict",
        (Completion::RolledBack, _) if late(root) => "timed_out",
        (Completion::RolledBack, Err(_)) => "unexpected_rollback",
        (completion, _) => completion.word(),
    }
}

/// Puts on record that a scope which meant to commit could not.
pub(super) fn report(function: Site, error: &Error) {
    if error.outcome() == Outcome::Unknown {
        tracing::error!(%function, %error, "a scope that meant to commit has failed");
    } else if error.is_retryable() {
        tracing::debug!(%function, %error, "a scope that meant to commit has failed");
    } else {
        tracing::warn!(%function, %error, "a scope that meant to commit has failed");
    }
}
