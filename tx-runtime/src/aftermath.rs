//! What is left to do once a transaction has ended: its hooks, outside of every scope.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use crate::chain::{self, Frame};
use crate::cleanup::{Cleanups, SeenThrough};
use crate::hook::{Completion, Hook, HookFailure};
use crate::hooks::Due;
use crate::site::Site;

tokio::task_local! {
    static FAILURES: Failures;
}

type Failures = Arc<Mutex<Vec<HookFailure>>>;

/// Runs `body` and gives, beside its result, the hooks that failed or panicked meanwhile.
///
/// A failed `after_commit`, `after_rollback` or `after_completion` hook changes nothing about
/// its transaction, so the function that owned it returns what it would have returned; this is
/// how a caller learns of the failure. Every failure is a `tracing` event of level `ERROR` as
/// well. Those of hooks that go on after their caller was dropped are only that.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let db = tx_runtime::SqliteDb::connect("sqlite::memory:").await?;
/// use tx_runtime::{Completion, Error, hook_failures};
///
/// let (order, failures) = hook_failures(async || {
///     db.transaction(async || {
///         db.after_commit(async || Err::<(), _>("the mail server is down"))?;
///         Ok::<_, Error>(17)
///     })
///     .await
/// })
/// .await;
/// assert_eq!(order?, 17);
/// assert_eq!(failures[0].completion(), Some(Completion::Committed));
/// # Ok::<_, Error>(())
/// # }).unwrap();
/// ```
pub async fn hook_failures<T>(body: impl AsyncFnOnce() -> T) -> (T, Vec<HookFailure>) {
    let failures = Failures::default();
    let result = FAILURES.scope(Arc::clone(&failures), body()).await;
    let failures = std::mem::take(&mut *failures.lock().unwrap_or_else(PoisonError::into_inner));
    (result, failures)
}

/// Hooks whose time has come; dropped without [`run`](Self::run), they run in the background.
pub(crate) struct Aftermath {
    /// Nobody locks it: hooks need not be `Sync`, but a scope that holds theirs has to be.
    due: Mutex<Due>,
    cleanups: Arc<Cleanups>,
}

impl Aftermath {
    /// `None` if there is nothing to do.
    pub(crate) fn of(due: Due, cleanups: &Arc<Cleanups>) -> Option<Self> {
        (!due.is_empty()).then(|| Self {
            due: Mutex::new(due),
            cleanups: Arc::clone(cleanups),
        })
    }

    /// Drops the hooks: what they belong to is done again.
    pub(crate) fn discard(mut self) {
        self.take();
    }

    /// Runs the hooks one after another; dropped meanwhile, they go on in the background.
    async fn run(mut self) {
        let cleanups = Arc::clone(&self.cleanups);
        let work = run_all(self.take());
        match Handle::try_current() {
            Ok(runtime) => SeenThrough::new(cleanups, runtime, work).await,
            // Nothing was run on a server, and there is nowhere else to go on.
            Err(_) => work.await,
        }
    }

    fn take(&mut self) -> Due {
        std::mem::take(self.due.get_mut().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Aftermath {
    fn drop(&mut self) {
        let due = self.take();
        if due.is_empty() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            tracing::error!(
                hooks = due.len(),
                "a scope was dropped outside of a runtime: its hooks are not run"
            );
            return;
        };
        self.cleanups.spawn(&runtime, run_all(due));
    }
}

/// Runs `hook` on a task of its own.
pub(crate) fn spawn(hook: Hook, completion: Completion, cleanups: &Arc<Cleanups>) {
    let Ok(runtime) = Handle::try_current() else {
        tracing::error!(hook = %hook.site, "there is no runtime to spawn a hook on: it is not run");
        return;
    };
    cleanups.spawn(&runtime, async move {
        if let Err(failure) = hook.run(completion).await {
            tracing::error!(%failure, "a hook failed");
        }
    });
}

/// Does what is due, if anything is.
pub(crate) async fn settle(aftermath: Option<Aftermath>) {
    if let Some(aftermath) = aftermath {
        // Rarely there, so it takes no room in the future of every scope.
        Box::pin(aftermath.run()).await;
    }
}

/// Runs `hook` outside of every scope of the chain that it is run in.
pub(crate) async fn run_outside(hook: Hook) -> Result<(), HookFailure> {
    chain::within(&Frame::outside(hook.site), async || {
        hook.run_before_end().await
    })
    .await
}

/// Its chain and the list of failures are taken from where it is called, not from where it may
/// go on.
fn run_all(due: Due) -> impl Future<Output = ()> + Send + 'static {
    let failures = FAILURES.try_with(Arc::clone).ok();
    let frame = due.first().map_or_else(
        || Frame::outside(Site::OUTSIDE),
        |(hook, _)| Frame::outside(hook.site),
    );
    async move {
        for (hook, completion) in due {
            let ended = chain::within(&frame, async || hook.run(completion).await).await;
            if let Err(failure) = ended {
                tracing::error!(%failure, "a hook failed");
                if let Some(failures) = &failures {
                    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.push(failure);
                }
            }
        }
    }
}
