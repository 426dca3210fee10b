//! The hooks of one transaction: registered while it runs, due when it or a savepoint ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hook::{Completion, Hook, HookKind};
use crate::level::Level;

/// The hooks that wait for the end of one transaction.
#[derive(Default)]
pub(crate) struct Hooks(Mutex<State>);

#[derive(Default)]
struct State {
    /// In the order of registration.
    waiting: Vec<Waiting>,
    /// The transaction has ended, and nothing runs hooks that come later.
    closed: bool,
}

struct Waiting {
    order: i32,
    /// Where it was registered: it shares that level's fate.
    level: Arc<Level>,
    hook: Hook,
}

/// Hooks whose time has come, in the order they run in.
pub(crate) type Due = Vec<(Hook, Completion)>;

impl Hooks {
    /// Adds a hook, unless it is too late for it.
    pub(crate) fn register(&self, level: Arc<Level>, order: i32, hook: Hook) -> bool {
        let mut state = self.state();
        if !state.closed {
            state.waiting.push(Waiting { order, level, hook });
        }
        !state.closed
    }

    /// Takes the hooks that are to run before COMMIT.
    pub(crate) fn before_commit(&self) -> Vec<Hook> {
        let mut state = self.state();
        let mut due: Vec<_> = state
            .waiting
            .extract_if(.., |it| {
                it.hook.kind == HookKind::BeforeCommit && it.level.is_kept()
            })
            .collect();
        due.sort_by_key(|it| it.order);
        due.into_iter().map(|it| it.hook).collect()
    }

    /// Takes what is due when a savepoint has been rolled back.
    pub(crate) fn undone(&self, level: &Arc<Level>) -> Due {
        let mut state = self.state();
        let undone = state.waiting.extract_if(.., |it| it.level.is_within(level));
        in_order(undone.map(|it| (Completion::RolledBack, it)).collect())
    }

    /// Takes what is due when the transaction has ended; no hook is taken on after that.
    pub(crate) fn ended(&self, completion: Completion) -> Due {
        let mut state = self.state();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        let fates = waiting.into_iter().map(|it| {
            let undone = completion == Completion::Committed && !it.level.is_kept();
            let fate = if undone {
                Completion::RolledBack
            } else {
                completion
            };
            (fate, it)
        });
        in_order(fates.collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those hooks that `fates` call for: first the specific ones, then those for any end.
fn in_order(mut fates: Vec<(Completion, Waiting)>) -> Due {
    fates.retain(|(completion, it)| match it.hook.kind {
        HookKind::BeforeCommit => false,
        HookKind::AfterCommit => *completion == Completion::Committed,
        HookKind::AfterRollback => *completion == Completion::RolledBack,
        HookKind::AfterCompletion => true,
    });
    // Stable, so hooks of one order stay as they were registered.
    fates.sort_by_key(|(_, it)| (it.hook.kind == HookKind::AfterCompletion, it.order));
    fates
        .into_iter()
        .map(|(completion, it)| (it.hook, completion))
        .collect()
}
