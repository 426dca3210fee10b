//! What the expansion of `#[transactional]` calls. Not public API.

use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

use crate::db::Db;
use crate::dialect::Dialect;
use crate::held_lock;
use crate::lock::{Lock, LockProvider};
use crate::options::TransactionOptions;
use crate::result::TransactionResult;
use crate::rules::{RollbackPolicy, RuledOptions, Rules};
use crate::scope;
use crate::site::Site;

pub use crate::{__rules as rules, declared, describe};

/// What `db = ..` may name: a `Db`, or something that leads to one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `tx_runtime::Db`",
    label = "a transaction cannot be begun on this",
    note = "`db = ..` takes a `Db`, or a reference, `Arc` or `Box` of one"
)]
pub trait DbRef {
    /// The database it is on.
    type Database: Dialect;

    /// The handle itself.
    fn db(&self) -> &Db<Self::Database>;
}

impl<DB: Dialect> DbRef for Db<DB> {
    type Database = DB;

    fn db(&self) -> &Self {
        self
    }
}

macro_rules! leads_to_db {
    ($($pointer:ty),+) => {$(
        #[diagnostic::do_not_recommend]
        impl<D: DbRef + ?Sized> DbRef for $pointer {
            type Database = D::Database;

            fn db(&self) -> &Db<Self::Database> {
                (**self).db()
            }
        }
    )+};
}

leads_to_db!(&D, &mut D, Arc<D>, Box<D>);

/// The handle that a `db` expression names.
pub fn db<D: DbRef + ?Sized>(db: &D) -> &Db<D::Database> {
    db.db()
}

/// The function that has the attribute.
#[must_use]
#[track_caller]
pub const fn site(name: &'static str) -> Site {
    Site::at(name, Location::caller())
}

/// The options of a function, before its attribute's words are applied.
#[must_use]
#[track_caller]
pub const fn options(name: &'static str) -> TransactionOptions {
    TransactionOptions::of(site(name))
}

/// The rules for a function's results, of which only the type is known.
#[doc(hidden)]
#[macro_export]
macro_rules! __rules {
    ($result:ty) => {
        $crate::__private::rules(::core::marker::PhantomData::<$result>, |error| {
            $crate::__private::describe!(error)
        })
        .declared(|error| $crate::__private::declared!(error))
    };
}

/// Puts an error of a result into words. The type comes as a value, so that a wrong one is
/// reported once.
#[must_use]
pub fn rules<R: TransactionResult>(
    _: PhantomData<R>,
    describe: fn(&R::Error) -> Option<String>,
) -> Rules<R::Ok, R::Error> {
    Rules::described(describe)
}

/// Runs a function's body in its scope.
pub async fn run<DB, R, F>(
    db: &Db<DB>,
    options: TransactionOptions,
    rules: Rules<R::Ok, R::Error>,
    body: F,
) -> R
where
    DB: Dialect,
    R: TransactionResult,
    F: AsyncFnOnce() -> R,
{
    scope::run(db.source(), RuledOptions { options, rules }, body).await
}

/// Runs a function's body in its scope, under a lock.
pub async fn run_locked<DB, R, F>(
    db: &Db<DB>,
    lock: Lock,
    options: TransactionOptions,
    rules: Rules<R::Ok, R::Error>,
    body: F,
) -> R
where
    DB: Dialect,
    R: TransactionResult,
    F: AsyncFnOnce() -> R,
{
    let options = RuledOptions { options, rules };
    scope::run_locked(db.source(), db.bind(lock), options, body).await
}

/// What `on = ..` may name.
pub fn provider<P: LockProvider + Clone>(provider: &P) -> P {
    provider.clone()
}

/// Runs a function's body under a lock of `provider`.
pub async fn locked<P, R, F>(provider: P, lock: Lock, function: Site, body: F) -> R
where
    P: LockProvider,
    R: TransactionResult,
    F: AsyncFnOnce() -> R,
{
    let lock = lock.bind(|| Arc::new(provider));
    let body = async || body().await.into_result();
    R::from_result(held_lock::locked(lock, function, body).await)
}

/// An error about to be put into words, as well as its type allows.
///
/// Which method is found depends on what the error implements: called on three references,
/// method lookup tries the receiver with the most of them first, so the order is `Display`,
/// then `Debug`, then nothing.
#[derive(Debug)]
pub struct Described<'a, E>(pub &'a E);

/// For errors with `Display`.
pub trait ByDisplay {
    /// The error in words.
    fn describe(&self) -> Option<String>;
}

impl<E: std::fmt::Display> ByDisplay for &&Described<'_, E> {
    fn describe(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

/// For errors with `Debug` only.
pub trait ByDebug {
    /// The error as `Debug` shows it.
    fn describe(&self) -> Option<String>;
}

impl<E: std::fmt::Debug> ByDebug for &Described<'_, E> {
    fn describe(&self) -> Option<String> {
        Some(format!("{:?}", self.0))
    }
}

/// For all other errors.
pub trait ByNothing {
    /// Nothing is known of it.
    fn describe(&self) -> Option<String>;
}

impl<E> ByNothing for Described<'_, E> {
    fn describe(&self) -> Option<String> {
        None
    }
}

/// An error about to be asked whether it rolls back.
///
/// Found like the words of [`Described`]: on two references, the first of which leads to a
/// declared policy.
#[derive(Debug)]
pub struct Declared<'a, E>(pub &'a E);

/// For errors with a policy of their own.
pub trait ByPolicy {
    /// What the policy says.
    fn rolls_back(&self) -> bool;
}

impl<E: RollbackPolicy> ByPolicy for &Declared<'_, E> {
    fn rolls_back(&self) -> bool {
        self.0.rolls_back()
    }
}

/// For all other errors.
pub trait ByDefault {
    /// Every error rolls back.
    fn rolls_back(&self) -> bool;
}

impl<E> ByDefault for Declared<'_, E> {
    fn rolls_back(&self) -> bool {
        true
    }
}
