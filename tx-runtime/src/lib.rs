//! Declarative transactions for services on sqlx.
//!
//! A function under [`#[transactional]`](transactional) runs in a *scope*. The scope begins,
//! joins, nests or suspends a transaction as its [`Propagation`] says, commits when the
//! function returns `Ok`, and rolls back on an error, a panic or a dropped future. Code inside
//! keeps its ordinary sqlx calls: [`&Db`](Db) is a [`sqlx::Executor`] that means "the scope I
//! am in".
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use tx_runtime::{Error, SqliteDb, transactional};
//!
//! struct Accounts {
//!     db: SqliteDb,
//! }
//!
//! impl Accounts {
//!     #[transactional]
//!     async fn transfer(&self, from: i64, to: i64, amount: i64) -> Result<(), Error> {
//!         self.book(from, -amount).await?;
//!         self.book(to, amount).await
//!     }
//!
//!     #[transactional(propagation = Mandatory)]
//!     async fn book(&self, account: i64, amount: i64) -> Result<(), Error> {
//!         sqlx::query("update account set balance = balance + ? where id = ?")
//!             .bind(amount)
//!             .bind(account)
//!             .execute(&self.db)
//!             .await?;
//!         Ok(())
//!     }
//! }
//!
//! let db = SqliteDb::connect("sqlite::memory:").await?;
//! sqlx::raw_sql("create table account (id integer, balance integer); insert into account values (1, 10), (2, 0)")
//!     .execute(db.pool())
//!     .await?;
//! Accounts { db: db.clone() }.transfer(1, 2, 7).await?;
//! let balance: i64 = sqlx::query_scalar("select balance from account where id = 2")
//!     .fetch_one(db.pool())
//!     .await?;
//! assert_eq!(balance, 7);
//! # Ok::<_, Error>(())
//! # }).unwrap();
//! ```
//!
//! # The plan of this crate
//!
//! A call goes down through these modules, each of which knows only those below it:
//!
//! | module | its one idea |
//! |---|---|
//! | `private` | what the attribute's expansion calls |
//! | `history` | tables whose changes are recorded: what makes, checks and reads their history |
//! | `timeline` | a picture of what scopes, locks and transactions did; made of their spans alone |
//! | `tickets` | locks as rows of a table: in order, visible, with a log that is true |
//! | `guarded` | a client that can only be reached under its lock |
//! | `db`, `tx`, `held_lock`, `executor` | the handles: `Db`, the explicit `Tx` and lock; as sqlx executors |
//! | `database_locks` | locks of the server, on connections of their own |
//! | `target` | where a statement goes: a transaction, the pool, or nowhere |
//! | `surfaced`, `scope` | a scope's future as its caller sees it; its life: entered by its mode, left by its body's result |
//! | `autocommit`, `stream` | statements outside a transaction; row streams |
//! | `transaction` | a physical transaction: begin, turns, savepoints, commit, rollback |
//! | `aftermath`, `after_all` | what runs once a transaction has ended, or all of a chain |
//! | `wire`, `session`, `journal` | its connection and the one operation under way on it; what is on record of it |
//! | `operation`, `rows`, `statement`, `prepared` | what an operation does; rows on their way to a stream; a statement that owns itself |
//! | `verdict` | what became of a COMMIT, also if its answer was lost |
//! | `source`, `gate`, `connecting`, `lending`, `lease`, `admission`, `cleanup` | connections: where from, who shares them, or why none, what becomes of them, in which order, what drops left to do |
//! | `deadline`, `interrupt` | when a scope must have finished; how its statement is stopped |
//! | `chain`, `lock`, `own_writes` | the call chain; named locks, their queue and providers; what a body has written to |
//! | `hooks`, `hook`, `values`, `level` | what waits for the end of a transaction; what its scopes share; a level's verdict |
//! | `dialect` | the only place that knows which database it is on |
//! | `options`, `author`, `rules`, `locked_options`, `propagation`, `retry`, `result`, `transaction_info`, `listener` | what a scope is asked for, what its result means, what is told of it, and to whom |
//! | `error`, `cause`, `site`, `identity`, `panic` | what went wrong, why, and where; which `Db` it is about; others' panics |
//!
//! # How its promises are kept
//!
//! **A dropped future leaves nothing behind.** Whatever talks to the server is an operation
//! that lives with the transaction, not in the call that asked for it (`wire`). If the call is
//! dropped, the next user of the connection, or the clean-up that the scope's own drop starts,
//! first sees the operation through. A COMMIT that was sent therefore runs to its answer, and
//! no protocol is ever cut in the middle of a message. [`Db::drain`] waits for such clean-ups.
//!
//! **`Ok` means that the server said COMMIT.** COMMIT is one message that fails, without
//! committing, if the transaction is not the one that was begun or can only roll back
//! (`dialect`). A failed statement dooms its level on every database, so that the same code
//! gets the same verdict everywhere; recover inside a `Nested` scope.
//!
//! **Nothing happens before the first statement.** A scope that runs none takes no connection,
//! and a savepoint that nobody used is never set.
//!
//! **A lock opens after the writes made under it.** A transaction that begins under a lock, or
//! runs a statement under it, keeps it (`lock`); it is let go when COMMIT or ROLLBACK is
//! answered, by whoever sees that answer, the caller or the clean-up.
//!
//! **A nested transaction finds a connection**, however many chains compete: see [`Db`] and
//! `nesting_depth`; the proof stands in `admission`.
//!
//! # What can be seen of it
//!
//! [`DbBuilder::listener`] hears of each physical transaction. Spans and events for `tracing` are
//! listed, with their fields, in `TRACING.md` of this crate; [`DbBuilder::warn_slow_scopes`] and
//! [`DbBuilder::warn_idle_transactions`] set what is worth a warning. With the feature `timeline`,
//! `timeline::Timeline` draws the spans beside each other.
//!
//! # What is not inherited
//!
//! A spawned task starts a chain of its own, outside of its parent's scope; its statements
//! through the `Db` are refused until it enters a scope itself. `std::mem::forget` on a
//! running scope's future keeps its transaction open, as it would any guard.
#![forbid(unsafe_code)]

mod admission;
mod after_all;
mod aftermath;
mod author;
mod autocommit;
mod cause;
mod chain;
mod cleanup;
mod connecting;
mod database_locks;
mod db;
mod deadline;
mod dialect;
mod error;
mod executor;
mod gate;
mod guarded;
mod held_lock;
#[cfg(feature = "history")]
pub mod history;
mod hook;
mod hooks;
mod identity;
mod interrupt;
mod journal;
mod lease;
mod lending;
mod level;
mod listener;
mod lock;
mod locked_options;
mod operation;
mod options;
mod own_writes;
mod panic;
mod prepared;
mod propagation;
mod result;
mod retry;
mod rows;
mod rules;
mod scope;
mod session;
mod site;
mod source;
mod statement;
mod stream;
mod surfaced;
mod target;
mod tickets;
#[cfg(feature = "timeline")]
pub mod timeline;
mod transaction;
mod transaction_info;
mod tx;
mod values;
mod verdict;
mod wire;

pub use after_all::after_all_commits;
pub use aftermath::hook_failures;
pub use author::Author;
pub use cause::{Cause, CauseKind};
pub use database_locks::DatabaseLocks;
#[cfg(feature = "mysql")]
pub use db::MySqlDb;
#[cfg(feature = "postgres")]
pub use db::PgDb;
#[cfg(feature = "sqlite")]
pub use db::SqliteDb;
pub use db::{Db, DbBuilder, HookOrder};
pub use dialect::{Dialect, Obstacle};
pub use error::{Error, Outcome};
pub use guarded::{Guarded, Permit};
pub use held_lock::HeldLock;
pub use hook::{Completion, HookFailure, HookKind, HookResult};
pub use listener::{Moment, TransactionEvent};
#[cfg(feature = "redis")]
pub use lock::RedisLocks;
pub use lock::{
    Conclusion, Fence, LocalLocks, Lock, LockFailure, LockFuture, LockHold, LockProvider,
    LockQueue, LockRequest,
};
pub use locked_options::LockedOptions;
pub use options::{Isolation, TransactionOptions};
pub use own_writes::read_your_writes;
pub use propagation::Propagation;
pub use result::TransactionResult;
pub use retry::Retry;
pub use rules::{RollbackPolicy, RuledOptions, Rules};
pub use site::Site;
pub use tickets::{Ticket, TicketLocks, TicketState};
pub use transaction_info::TransactionInfo;
pub use tx::Tx;
pub use tx_macros::{locked, transactional};

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
