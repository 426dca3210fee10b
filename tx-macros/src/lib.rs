//! The attributes of `tx-runtime`, which re-exports them: use them from there.
//!
//! A function keeps its signature and its body; only what stands around the body changes. All
//! behaviour is in the runtime, where it is compiled once and can be read as ordinary Rust.
//!
//! ```text
//! #[transactional]
//! async fn add(&self, asset: i64) -> Result<(), Error> {
//!     work(asset).await
//! }
//! ```
//!
//! becomes
//!
//! ```text
//! async fn add(&self, asset: i64) -> Result<(), Error> {
//!     let __tx_db = ::core::clone::Clone::clone(::tx_runtime::__private::db(&self.db));
//!     ::tx_runtime::__private::run(
//!         &__tx_db,
//!         ::tx_runtime::__private::options(::core::concat!(::core::module_path!(), "::", "add")),
//!         ::tx_runtime::__private::known(::core::marker::PhantomData::<Result<(), Error>>).rules(),
//!         async || {
//!             if false {
//!                 return ::tx_runtime::__private::never::<Result<(), Error>>();
//!             }
//!             { work(asset).await }
//!         },
//!     )
//!     .await
//! }
//! ```
//!
//! Each option adds a word:
//!
//! ```text
//! #[transactional(isolation = Serializable, timeout = "3s", lock = "asset:{asset}")]
//! async fn add(&self, asset: i64) -> Result<(), Error> {
//!     work(asset).await
//! }
//! ```
//!
//! becomes
//!
//! ```text
//! async fn add(&self, asset: i64) -> Result<(), Error> {
//!     let __tx_db = ::core::clone::Clone::clone(::tx_runtime::__private::db(&self.db));
//!     ::tx_runtime::__private::run_locked(
//!         &__tx_db,
//!         ::tx_runtime::Lock::keys([::std::format!("asset:{0}", asset)]),
//!         ::tx_runtime::__private::options(::core::concat!(::core::module_path!(), "::", "add"))
//!             .isolation(::tx_runtime::Isolation::Serializable)
//!             .timeout(::core::time::Duration::from_millis(3000u64)),
//!         ::tx_runtime::__private::known(::core::marker::PhantomData::<Result<(), Error>>).rules(),
//!         async || {
//!             if false {
//!                 return ::tx_runtime::__private::never::<Result<(), Error>>();
//!             }
//!             { work(asset).await }
//!         },
//!     )
//!     .await
//! }
//! ```
//!
//! The branch that is never taken gives the closure the function's return type. What is refused, in
//! which words, and what to write instead is in `tests/compile/README.md`.
//!
//! # The plan of this crate
//!
//! | module | its one idea |
//! |---|---|
//! | `attribute` | the attributes from end to end; what becomes of mistakes |
//! | `grammar` | what is written in the parentheses, to typed options |
//! | `item` | what the attribute stands on; bodies stay tokens |
//! | `check` | what can be refused by reading |
//! | `pattern` | which of two patterns is the more specific |
//! | `expand` | the expansions |

mod attribute;
mod check;
mod expand;
#[cfg(test)]
mod expansion;
#[cfg(test)]
mod fuzz;
mod grammar;
mod item;
mod pattern;

use proc_macro::TokenStream;

/// Runs an `async fn` in a transaction: `Ok` commits, `Err` rolls back.
///
/// ```ignore
/// # // needs tx-runtime, which depends on this crate
/// use tx_runtime::{Db, transactional};
///
/// struct Assets { db: Db<sqlx::Postgres> }
///
/// impl Assets {
///     #[transactional]
///     async fn add(&self, account: i64) -> Result<(), Error> {
///         sqlx::query("insert into asset (account) values ($1)")
///             .bind(account)
///             .execute(&self.db)
///             .await?;
///         Ok(())
///     }
/// }
/// ```
///
/// The function must return `Result<T, E>` with `E: From<tx_runtime::Error>`, written out or
/// behind an alias. Panics and dropped futures roll back as well. Methods with any receiver, free
/// functions, methods of traits and methods under `#[async_trait]` are decorated alike; in a trait
/// the attribute belongs on each method with a body.
///
/// # Options
///
/// All are optional, separated by commas, in any order, each at most once. What has no effect under
/// the chosen propagation does not compile.
///
/// ## `db = EXPR`
///
/// The `Db` of the transaction, or a reference, `Arc` or `Box` of one. Left out, it is `self.db` in
/// methods and the argument named `db` in functions.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(db = self.state.pool)]
/// async fn add(&self) -> Result<(), Error> { Ok(()) }
/// ```
///
/// ## `propagation = MODE`
///
/// What happens where a transaction is already open, and where none is:
///
/// | mode | none open | one open |
/// |---|---|---|
/// | `Required` (default) | begin | join it |
/// | `RequiresNew` | begin | suspend it, begin another |
/// | `Isolated` | begin | as `RequiresNew`, and commit before any lock opens |
/// | `Nested` | begin | savepoint |
/// | `Mandatory` | error | join it |
/// | `Supports` | no transaction | join it |
/// | `NotSupported` | no transaction | suspend it |
/// | `Never` | no transaction | error |
///
/// A path such as `Propagation::RequiresNew` is accepted as well.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(propagation = RequiresNew)]
/// async fn log(db: &Db<Postgres>, text: &str) -> Result<(), Error> { Ok(()) }
/// ```
///
/// ## `isolation = LEVEL`
///
/// `ReadUncommitted`, `ReadCommitted`, `RepeatableRead` or `Serializable`; left out, the default of
/// the `Db`. Refused together with a propagation that never begins a transaction or begins one
/// only where none is open to nest in.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(isolation = Serializable)]
/// async fn transfer(&self, amount: i64) -> Result<(), Error> { Ok(()) }
/// ```
///
/// ## `read_only`
///
/// The server refuses writes in the transaction.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(read_only)]
/// async fn count(&self) -> Result<i64, Error> { Ok(0) }
/// ```
///
/// ## `timeout = "DURATION"`
///
/// For the whole scope, waiting for a connection and for locks included. A duration is a whole
/// number and one of `ms`, `s`, `m` (minutes) and `h`.
/// `"none"` is no limit, for a function of a `Db` that has one for all.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(timeout = "3s")]
/// async fn close_day(&self) -> Result<(), Error> { Ok(()) }
/// ```
///
/// ## `retry(attempts = N, backoff = "DURATION..DURATION", idempotent)`
///
/// Runs the body again, up to `attempts` times in all, when the database has rolled it back because
/// of a conflict: serialization failure, deadlock, a busy database. Between two attempts it waits
/// longer each time, from the first duration to the last. With `idempotent` a COMMIT whose answer
/// was lost is tried again as well. Every attempt has a clone of each argument that is handed over
/// by value and named in the body; what is borrowed is borrowed again.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(isolation = Serializable, retry(attempts = 5, backoff = "10ms..1s"))]
/// async fn transfer(&self, amount: i64) -> Result<(), Error> { Ok(()) }
/// ```
///
/// ## `no_rollback_for = PATTERN`, `rollback_for = PATTERN`
///
/// Errors that commit, and are still returned; and errors that roll back although a more general
/// `no_rollback_for`, or the error type's own policy, would have them commit. Patterns are matched
/// against the error by reference; `|` gives alternatives. Where both match, the more specific one
/// decides; if neither is, the attribute is refused. A name without a path is refused, because after
/// a rename it would silently match every error: write `Error::Duplicate`, not `Duplicate`.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(no_rollback_for = Error::Remote(_), rollback_for = Error::Remote(Remote::Fraud))]
/// async fn pay(&self) -> Result<(), Error> { Ok(()) }
/// ```
///
/// ## `rollback_if = |value| EXPR`
///
/// `Ok` values that roll back, and are still returned as `Ok`. The closure, or a function's path, is
/// given a reference and captures nothing.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(rollback_if = |imported| imported.is_empty())]
/// async fn import(&self) -> Result<Vec<i64>, Error> { Ok(Vec::new()) }
/// ```
///
/// ## `lock = "KEY"`, `lock(key = "KEY", keys = ["KEY", "KEY"], wait = "DURATION", try, on = EXPR, label = "TEXT")`
///
/// Locks to hold around the transaction: taken before it begins, open after it has ended. The key is
/// a format string over the arguments and their fields. Several keys are taken sorted and each once.
/// `wait` bounds the waiting, `try` does not wait at all, and `on` names a `LockProvider` in place of
/// the `Db`'s own. `label` says what it is for, as `TicketLocks` show it; it is a format string as
/// well, and the function's name where it is left out.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(lock(keys = ["account:{from}", "account:{to.id}"], wait = "2s"))]
/// async fn transfer(&self, from: i64, to: Account) -> Result<(), Error> { Ok(()) }
/// ```
///
/// ## `history(actor = EXPR, reason = EXPR)`
///
/// Who makes the changes of the transaction, and why, for the tables whose changes are recorded.
/// Anything with `Display` will do; it is looked at before the transaction begins. A function that
/// joins a transaction of another actor, or with another reason, is refused at run time.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(history(actor = user.id, reason = "signed up"))]
/// async fn register(&self, user: &User) -> Result<(), Error> { Ok(()) }
/// ```
///
/// ## `allow(spawn)`
///
/// Tasks and threads that the body starts (`tokio::spawn`, `spawn_blocking`, `thread::spawn`) are
/// not part of the transaction, and are refused by name. This says that it is on purpose.
///
/// ## `name = "TEXT"`
///
/// What errors and traces call the function; left out, its path.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(name = "assets.add")]
/// async fn add(&self) -> Result<(), Error> { Ok(()) }
/// ```
///
/// ## `crate = PATH`
///
/// Where `tx-runtime` is found if it was renamed or re-exported: an absolute path.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(crate = crate::vendor::tx_runtime)]
/// async fn add(&self) -> Result<(), Error> { Ok(()) }
/// ```
///
/// # On an `impl` block
///
/// There it is the default for the `pub async` methods of the block, `pub(crate)` and the like among
/// them, and for all async methods of a trait's implementation. A method's own attribute replaces
/// it, and `#[transactional(skip)]` exempts the method.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(isolation = Serializable)]
/// impl Assets {
///     pub async fn add(&self, asset: i64) -> Result<(), Error> { Ok(()) }
///
///     #[transactional(read_only)]
///     pub async fn count(&self) -> Result<i64, Error> { Ok(0) }
///
///     #[transactional(skip)]
///     pub async fn connect(url: &str) -> Result<Assets, Error> { todo!() }
/// }
/// ```
///
/// # Other attributes
///
/// Attributes are applied from the top. `#[tracing::instrument]` above has its span around the body
/// alone, below it around the commit as well. `#[tokio::test]`, `#[tokio::main]` and others that
/// remove `async` go below.
///
/// # Arguments and `Send`
///
/// The future is `Send` exactly when the body is. The body borrows the arguments it does not
/// consume, so that they outlive the commit. An argument that is `Send` but not `Sync`, taken by
/// value and only used by shared reference, makes the future not `Send`; `let argument = argument;`
/// in the body moves it in.
#[proc_macro_attribute]
pub fn transactional(args: TokenStream, item: TokenStream) -> TokenStream {
    attribute::transactional(args.into(), item.into()).into()
}

/// Runs an `async fn` under a lock, without a transaction.
///
/// ```ignore
/// # // needs tx-runtime
/// #[locked(key = "report:{account}", wait = "10m", on = self.locks)]
/// async fn report(&self, account: i64) -> Result<Report, Error> { todo!() }
/// ```
///
/// The options are those of `lock(..)` in [`macro@transactional`], with `allow(spawn)` and `crate`
/// beside them. Left out, `on` is `self.db` in methods and the argument named `db` in functions, and
/// means its locks. The function must return `Result<T, E>` with `E: From<tx_runtime::Error>`, in
/// which a lock that is not had in time is reported.
///
/// A transactional function has its lock in its own attribute, where the order of lock and
/// transaction is right by itself; both attributes on one function do not compile.
#[proc_macro_attribute]
pub fn locked(args: TokenStream, item: TokenStream) -> TokenStream {
    attribute::locked(args.into(), item.into()).into()
}
