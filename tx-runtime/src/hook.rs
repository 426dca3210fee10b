//! A hook: what runs before the commit of a transaction or after its end, and what it came to.

use std::error::Error as StdError;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_core::future::BoxFuture;
use tracing::{Instrument as _, Span, field};

use crate::panic::caught;
use crate::site::Site;

/// How a transaction, or the savepoint that a hook was registered in, has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The server said COMMIT; without a statement there was nothing to say it to.
    Committed,
    /// Nothing of it is stored.
    RolledBack,
    /// The answer to COMMIT was lost and the server could not tell, or a statement had ended the
    /// transaction before its scope did: the database may hold all, some or none of it.
    Unknown,
}

impl Completion {
    /// As it stands in spans.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Unknown => "unknown",
        }
    }
}

/// What makes a hook run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// The transaction is about to commit; the hook runs inside it and can fail it.
    BeforeCommit,
    /// It has committed.
    AfterCommit,
    /// It, or the savepoint that the hook was registered in, was rolled back.
    AfterRollback,
    /// It has ended in any way.
    AfterCompletion,
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeCommit => "before_commit",
            Self::AfterCommit => "after_commit",
            Self::AfterRollback => "after_rollback",
            Self::AfterCompletion => "after_completion",
        })
    }
}

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// What a hook may return: nothing, or a `Result` of nothing.
#[diagnostic::on_unimplemented(
    message = "a hook returns `()` or `Result<(), E>`, not `{Self}`",
    note = "`E` is anything that converts into `Box<dyn std::error::Error + Send + Sync>`"
)]
pub trait HookResult {
    /// The result, with its error in a box.
    ///
    /// # Errors
    ///
    /// The hook's own.
    fn into_hook_result(self) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

impl HookResult for () {
    fn into_hook_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> HookResult for Result<(), E> {
    fn into_hook_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// A hook that failed or panicked.
#[derive(Clone, Debug)]
pub struct HookFailure(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    kind: HookKind,
    hook: Site,
    function: Site,
    completion: Option<Completion>,
    reason: BoxError,
}

impl HookFailure {
    /// What had made it run.
    #[must_use]
    pub fn kind(&self) -> HookKind {
        self.0.kind
    }

    /// Where it was registered.
    #[must_use]
    pub fn hook(&self) -> Site {
        self.0.hook
    }

    /// The function that registered it.
    #[must_use]
    pub fn function(&self) -> Site {
        self.0.function
    }

    /// How the transaction had ended; `None` if it had not, or if there was none.
    #[must_use]
    pub fn completion(&self) -> Option<Completion> {
        self.0.completion
    }

    /// The hook's error, or its panic message.
    #[must_use]
    pub fn reason(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0.reason
    }
}

impl fmt::Display for HookFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts {
            kind,
            hook,
            function,
            completion,
            reason,
        } = &*self.0;
        write!(
            f,
            "the {kind} hook of {function} registered at {}:{} failed",
            hook.file(),
            hook.line()
        )?;
        match completion {
            None => {}
            Some(Completion::Committed) => f.write_str(" (the transaction is committed)")?,
            Some(Completion::RolledBack) => f.write_str(" (the transaction was rolled back)")?,
            Some(Completion::Unknown) => f.write_str(" (whether it committed is unknown)")?,
        }
        write!(f, ": {reason}")
    }
}

impl StdError for HookFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0.reason)
    }
}

/// What a hook does, made into a future when its time has come.
pub(crate) struct Action(Box<dyn FnOnce(Completion) -> Running + Send>);

/// A hook at work.
pub(crate) type Running = BoxFuture<'static, Result<(), BoxError>>;

impl Action {
    pub(crate) fn new(start: impl FnOnce(Completion) -> Running + Send + 'static) -> Self {
        Self(Box::new(start))
    }

    /// What a service has registered.
    pub(crate) fn of<F, R, H>(hook: F) -> Self
    where
        F: FnOnce(Completion) -> H + Send + 'static,
        H: Future<Output = R> + Send + 'static,
        R: HookResult,
    {
        Self::new(|completion| {
            let running = hook(completion);
            Box::pin(async move { running.await.into_hook_result() })
        })
    }

    pub(crate) fn start(self, completion: Completion) -> Running {
        (self.0)(completion)
    }
}

/// A hook with what is known of it.
pub(crate) struct Hook {
    pub(crate) kind: HookKind,
    pub(crate) site: Site,
    /// The function that registered it.
    pub(crate) function: Site,
    pub(crate) action: Action,
}

impl Hook {
    /// Runs the hook; a panic counts as a failure.
    pub(crate) async fn run(self, completion: Completion) -> Result<(), HookFailure> {
        let work = |action: Action| without_panic(async move { action.start(completion).await });
        self.traced(Some(completion), work).await
    }

    /// Runs the hook while there is nothing that could have ended; a panic goes on.
    pub(crate) async fn run_before_end(self) -> Result<(), HookFailure> {
        // Hooks without an end to be told of ignore the argument.
        let work = |action: Action| async move { action.start(Completion::Unknown).await };
        self.traced(None, work).await
    }

    async fn traced<F>(
        self,
        completion: Option<Completion>,
        work: impl FnOnce(Action) -> F,
    ) -> Result<(), HookFailure>
    where
        F: Future<Output = Result<(), BoxError>>,
    {
        let span = self.span();
        let Self {
            kind,
            site,
            function,
            action,
        } = self;
        let result = work(action).instrument(span.clone()).await;
        span.record("outcome", if result.is_ok() { "ok" } else { "failed" });
        result.map_err(|reason| {
            HookFailure(Arc::new(Facts {
                kind,
                hook: site,
                function,
                completion,
                reason,
            }))
        })
    }

    fn span(&self) -> Span {
        let Self { site, function, .. } = self;
        tracing::debug_span!(
            "hook",
            kind = %self.kind,
            function = function.name(),
            registered = %format_args!("{}:{}", site.file(), site.line()),
            outcome = field::Empty,
        )
    }
}

async fn without_panic(hook: impl Future<Output = Result<(), BoxError>>) -> Result<(), BoxError> {
    let mut hook = pin!(hook);
    std::future::poll_fn(|cx| {
        // It is not polled again after a panic.
        caught(|| hook.as_mut().poll(cx)).unwrap_or_else(|panic| Poll::Ready(Err(panic.into())))
    })
    .await
}
