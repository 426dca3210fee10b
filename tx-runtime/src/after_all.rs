//! Hooks that wait for more than one transaction.

use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::chain;
use crate::error::Error;
use crate::hook::{Action, Hook, HookKind, HookResult};
use crate::site::Site;

/// Runs `hook` once every transaction that is open in the call chain has committed: running and
/// suspended ones, of every [`Db`](crate::Db).
///
/// A `RequiresNew` scope commits while its caller may still fail; what is only to happen if both
/// are stored waits here. The hook runs with those of the last of them to commit. If one of them,
/// or the savepoint that the call is in, is rolled back, or nobody knows whether it has
/// committed, the hook never runs. For the rest it is as
/// [`after_commit`](crate::Db::after_commit).
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let orders = tx_runtime::SqliteDb::connect("sqlite::memory:").await?;
/// # let stock = tx_runtime::SqliteDb::connect("sqlite::memory:").await?;
/// # async fn send_mail() {}
/// use tx_runtime::{Error, after_all_commits};
///
/// orders.transaction(async || {
///     stock.transaction(async || after_all_commits(send_mail)).await?;
///     // no mail yet: the order may still fail
///     Ok::<_, Error>(())
/// })
/// .await?;
/// # Ok::<_, Error>(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// [`Error::NoTransaction`] if none is open, [`Error::TransactionClosed`] if one of them has
/// ended meanwhile.
#[track_caller]
pub fn after_all_commits<F, R, H>(hook: F) -> Result<(), Error>
where
    F: FnOnce() -> H + Send + 'static,
    H: Future<Output = R> + Send + 'static,
    R: HookResult,
{
    let site = Site::at("after_all_commits", Location::caller());
    let open = chain::open_transactions();
    let Some(innermost) = open.first() else {
        return Err(Error::NoTransaction { function: site });
    };
    let function = innermost.function;
    for part in &open {
        part.level.check_open()?;
    }
    let last = Last::of(open.len(), Action::of(|_| hook()));
    for part in open {
        let owner = part.level.site();
        let hook = Hook {
            kind: HookKind::AfterCommit,
            site,
            function,
            action: last.when_committed(),
        };
        if !part.transaction.hooks().register(part.level, 0, hook) {
            return Err(Error::TransactionClosed { function: owner });
        }
    }
    Ok(())
}

/// An action for whoever comes last.
struct Last {
    left: AtomicUsize,
    action: Mutex<Option<Action>>,
}

impl Last {
    fn of(count: usize, action: Action) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(count),
            action: Mutex::new(Some(action)),
        })
    }

    /// What each of them does.
    fn when_committed(self: &Arc<Self>) -> Action {
        let last = Arc::clone(self);
        Action::new(move |completion| match last.come() {
            Some(action) => action.start(completion),
            None => Box::pin(std::future::ready(Ok(()))),
        })
    }

    fn come(&self) -> Option<Action> {
        if self.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return None;
        }
        let mut action = self.action.lock().unwrap_or_else(PoisonError::into_inner);
        action.take()
    }
}
