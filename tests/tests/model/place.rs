//! One of the databases of a run: what the steps of a program are on it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, LocalBoxFuture};
use tx_runtime::{
    Completion, Db, HookKind, LocalLocks, Lock, Propagation, TransactionOptions, transactional,
};
use tx_tests::{Backend, Bed};

use crate::engine::Engine;
use crate::event::{Event, Failure, reason};
use crate::problem::Problem;
use crate::tree::{Call, Form, Hook, Side};

/// More connections than a tree can want; they are opened when they are wanted.
const POOL: u32 = 16;

/// How long a connection may take to be opened or to come back: nothing waits for one but on a
/// machine that is busy with other things.
const PATIENCE: Duration = Duration::from_mins(1);

/// More transactions than lie in each other in any tree.
const NESTING: usize = 8;

pub(crate) type Body<'b> = LocalBoxFuture<'b, Result<(), Problem>>;

/// What a hook fails with.
type HookError = Box<dyn std::error::Error + Send + Sync>;

/// What a hook does when its time has come.
pub(crate) type Action =
    Box<dyn FnOnce(Completion) -> BoxFuture<'static, Result<(), HookError>> + Send>;

/// A database of any kind, with the `Db` under test and somebody outside who looks.
pub(crate) trait Place: Send + Sync {
    fn engine(&self) -> Engine;

    /// Inserts a row in the scope that this is called in.
    fn insert(&self, id: i64) -> BoxFuture<'_, Result<(), Failure>>;

    /// As [`insert`](Self::insert), with the error as the body has it.
    fn insert_or(&self, id: i64) -> BoxFuture<'_, Result<(), Problem>>;

    /// The rows that the scope sees.
    fn select(&self) -> BoxFuture<'_, Result<Vec<i64>, Problem>>;

    /// Inserts a row in a transaction that has nothing around it.
    fn insert_apart(&self, id: i64) -> BoxFuture<'_, Result<(), Failure>>;

    fn look(&self) -> Event;

    fn is_in_transaction(&self) -> bool;

    fn rollback_only(&self, side: Side) -> Result<(), Failure>;

    fn register(&self, hook: &Hook, action: Action) -> Result<(), Failure>;

    /// Runs `body` in the scope that `call` describes; `note` takes what happens on the way.
    fn scope<'b>(&'b self, call: &'b Call, body: Body<'b>, note: &'b dyn Fn(Event)) -> Body<'b>;

    /// Waits for what drops and panics have left to do.
    fn drain(&self) -> BoxFuture<'_, ()>;

    /// The committed rows, seen from outside.
    fn stored(&self) -> BoxFuture<'_, Vec<i64>>;

    /// Deletes all rows but the one that is always there.
    fn clear(&self) -> BoxFuture<'_, ()>;

    /// Whether all connections are back, and outside of transactions.
    fn at_rest(&self) -> BoxFuture<'_, Result<(), String>>;

    /// As [`at_rest`](Self::at_rest), and every connection serves.
    fn clean(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// The row that is always there, and that a duplicate is one of.
pub(crate) const THERE: i64 = 0;

/// A database of its own, or `None` where there is no server.
pub(crate) async fn place<B: Backend>() -> Option<Arc<dyn Place>> {
    let bed = Bed::<B>::build(
        |pool| pool.max_connections(POOL).acquire_timeout(PATIENCE),
        |db| db.nesting_depth(NESTING).locks(LocalLocks::new()),
    );
    let bed = bed.await?;
    if B::LABEL == "postgres" {
        // Nothing here is about power cuts.
        let name = bed.control_texts("select current_database()::text").await;
        let sql = format!("alter database {} set synchronous_commit = off", name[0]);
        bed.control(&sql).await;
    }
    bed.control(&format!("insert into t (id) values ({THERE})"))
        .await;
    Some(Arc::new(bed))
}

impl<B: Backend> Place for Bed<B> {
    fn engine(&self) -> Engine {
        Engine::of::<B>()
    }

    fn insert(&self, id: i64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let done = Place::insert_or(self, id).await;
            done.map_err(|problem| Failure::from(&problem))
        })
    }

    fn insert_or(&self, id: i64) -> BoxFuture<'_, Result<(), Problem>> {
        // Unprepared: none of these comes twice.
        let sql = format!("insert into t (id) values ({id})");
        Box::pin(async move { Ok(B::raw(&self.db, &sql).await.map(drop)?) })
    }

    fn select(&self) -> BoxFuture<'_, Result<Vec<i64>, Problem>> {
        Box::pin(async move {
            let mut rows = self.visible().await?;
            rows.retain(|id| *id != THERE);
            Ok(rows)
        })
    }

    fn insert_apart(&self, id: i64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let options = TransactionOptions::new().name("hook");
            let done = self
                .db
                .transaction_with(options, async || self.insert_or(id).await);
            done.await.map_err(|problem| Failure::from(&problem))
        })
    }

    fn look(&self) -> Event {
        Event::Looked {
            in_transaction: self.db.is_in_transaction(),
            rollback_only: self.db.is_rollback_only(),
        }
    }

    fn is_in_transaction(&self) -> bool {
        self.db.is_in_transaction()
    }

    fn rollback_only(&self, side: Side) -> Result<(), Failure> {
        let done = self.db.set_rollback_only(reason(side));
        done.map_err(|error| Failure::from(&error))
    }

    fn register(&self, hook: &Hook, action: Action) -> Result<(), Failure> {
        let hooks = self.db.hook_order(hook.order);
        let done = match hook.kind {
            HookKind::BeforeCommit => hooks.before_commit(|| action(Completion::Unknown)),
            HookKind::AfterCommit => hooks.after_commit(|| action(Completion::Committed)),
            HookKind::AfterRollback => hooks.after_rollback(|| action(Completion::RolledBack)),
            HookKind::AfterCompletion => hooks.after_completion(action),
        };
        done.map_err(|error| Failure::from(&error))
    }

    fn scope<'b>(&'b self, call: &'b Call, body: Body<'b>, note: &'b dyn Fn(Event)) -> Body<'b> {
        let db = &self.db;
        let scope: Body<'b> = match call.form {
            Form::Savepoint => Box::pin(db.savepoint(async || body.await)),
            Form::Closure(mode) => closure(db, call, mode, body),
            Form::Annotated(mode) => annotated(db, call, mode, body),
            Form::Explicit(mode) => Box::pin(explicit(db, call, mode, body, note)),
        };
        if !call.locked {
            return scope;
        }
        let lock = Lock::keys([call.number.to_string()]);
        Box::pin(db.locked(lock, async || scope.await))
    }

    fn drain(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.db.drain())
    }

    fn stored(&self) -> BoxFuture<'_, Vec<i64>> {
        Box::pin(async move {
            let mut rows = self.rows().await;
            rows.retain(|id| *id != THERE);
            rows
        })
    }

    fn clear(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.control(&format!("delete from t where id <> {THERE}"))
                .await;
        })
    }

    fn at_rest(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(at_rest(self))
    }

    fn clean(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(Bed::clean(self))
    }
}

async fn at_rest<B: Backend>(bed: &Bed<B>) -> Result<(), String> {
    let pool = bed.db.pool();
    let back = async {
        while pool.size() as usize != pool.num_idle() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, back).await.is_err() {
        return Err(format!("{} of {} are idle", pool.num_idle(), pool.size()));
    }
    match bed.open_transactions().await {
        0 => Ok(()),
        open => Err(format!("{open} connection(s) inside a transaction")),
    }
}

// ----- the forms of a scope ------------------------------------------------------------------------

fn closure<'b, B: Backend>(
    db: &'b Db<B>,
    call: &Call,
    mode: Propagation,
    body: Body<'b>,
) -> Body<'b> {
    let options = TransactionOptions::new()
        .propagation(mode)
        .name(call.name());
    if call.keeps_benign {
        let options = options.no_rollback_for(Problem::is_benign);
        Box::pin(db.transaction_with(options, async || body.await))
    } else {
        Box::pin(db.transaction_with(options, async || body.await))
    }
}

async fn explicit<B: Backend>(
    db: &Db<B>,
    call: &Call,
    mode: Propagation,
    body: Body<'_>,
    note: &dyn Fn(Event),
) -> Result<(), Problem> {
    let options = TransactionOptions::new()
        .propagation(mode)
        .name(call.name());
    let tx = db.begin_with(options).await?;
    match tx.within(async || body.await).await {
        Ok(()) => Ok(tx.commit().await?),
        Err(problem) => {
            let undone = tx.rollback().await;
            note(Event::UndoneByHand(
                undone.map_err(|error| Failure::from(&error)),
            ));
            Err(problem)
        }
    }
}

macro_rules! annotated {
    ($($mode:ident: $strict:ident $(or $lenient:ident)?;)+) => {
        $(
            #[transactional(propagation = $mode, name = "annotated")]
            async fn $strict<B: Backend>(db: &Db<B>, body: Body<'_>) -> Result<(), Problem> {
                body.await
            }

            $(#[transactional(
                propagation = $mode,
                name = "annotated",
                no_rollback_for = Problem::Benign(_)
            )]
            async fn $lenient<B: Backend>(db: &Db<B>, body: Body<'_>) -> Result<(), Problem> {
                body.await
            })?
        )+

        fn annotated<'b, B: Backend>(
            db: &'b Db<B>,
            call: &Call,
            mode: Propagation,
            body: Body<'b>,
        ) -> Body<'b> {
            match mode {
                $(
                    $(Propagation::$mode if call.keeps_benign => Box::pin($lenient(db, body)),)?
                    Propagation::$mode => Box::pin($strict(db, body)),
                )+
            }
        }
    };
}

annotated! {
    Required: required or required_lenient;
    RequiresNew: requires_new or requires_new_lenient;
    Isolated: isolated or isolated_lenient;
    Nested: nested or nested_lenient;
    Mandatory: mandatory or mandatory_lenient;
    Supports: supports or supports_lenient;
    NotSupported: not_supported;
    Never: never;
}
