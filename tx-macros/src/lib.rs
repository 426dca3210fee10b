//! The attribute of `tx-runtime`, which re-exports it: use it from there.
//!
//! A function keeps its signature and its body; only what stands around the body changes:
//!
//! ```text
//! #[transactional(propagation = RequiresNew)]
//! async fn add(&self, asset: i64) -> Result<(), Error> { BODY }
//! ```
//!
//! becomes, with paths shortened,
//!
//! ```text
//! async fn add(&self, asset: i64) -> Result<(), Error> {
//!     let db = db(&self.db).clone();
//!     run(
//!         &db,
//!         options("module::add", file!(), line!()).propagation(Propagation::RequiresNew),
//!         rules(PhantomData::<Result<(), Error>>, |error| describe!(error)),
//!         async || { BODY },
//!     )
//!     .await
//! }
//! ```

mod attribute;
mod check;
mod expand;
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
/// All are optional, separated by commas, in any order, each at most once.
///
/// ## `db = EXPR`
///
/// The `Db` of the transaction, or a reference, `Arc` or `Box` of one. Left out, it is `self.db` in
/// methods and the parameter named `db` in functions.
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
/// ## `no_rollback_for = PATTERN`
///
/// Errors that commit, and are still returned. The pattern is matched against the error by
/// reference; `|` gives alternatives. A name without a path is refused, because after a rename it
/// would silently match every error: write `Error::Duplicate`, not `Duplicate`.
///
/// ```ignore
/// # // needs tx-runtime
/// #[transactional(no_rollback_for = Error::Duplicate(_) | Error::Unchanged)]
/// async fn add(&self) -> Result<(), Error> { Ok(()) }
/// ```
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
/// # Arguments and `Send`
///
/// The body borrows the arguments it does not consume, so that they outlive the commit. An argument
/// that is `Send` but not `Sync`, taken by value and only used by shared reference, makes the
/// future not `Send`; `let argument = argument;` in the body moves it in.
#[proc_macro_attribute]
pub fn transactional(args: TokenStream, item: TokenStream) -> TokenStream {
    attribute::transactional(args.into(), item.into()).into()
}

/// Runs an `async fn` under a lock, without a transaction.
#[proc_macro_attribute]
pub fn locked(args: TokenStream, item: TokenStream) -> TokenStream {
    attribute::locked(args.into(), item.into()).into()
}
