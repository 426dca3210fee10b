//! What the expansion of `#[transactional]` calls. Not public API.

use std::fmt::{self, Debug, Display};
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;

use crate::db::Db;
use crate::deadline::Deadline;
use crate::dialect::Dialect;
use crate::error::Error;
use crate::held_lock;
use crate::lock::{Lock, LockProvider};
use crate::options::TransactionOptions;
use crate::result::TransactionResult;
use crate::retry::Retry;
use crate::rules::{RollbackPolicy, RuledOptions, Rules};
use crate::scope;
use crate::site::Site;
use crate::surfaced::Surfaced;

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

/// What a function's result type tells about its errors: `known(PhantomData::<R>).rules()`. The
/// type comes as a value, so that a wrong one is reported once.
#[must_use]
pub fn known<R: TransactionResult>(_: PhantomData<R>) -> Known<R::Ok, R::Error> {
    Known::default()
}

/// One level for each thing that an error type may implement. Method lookup goes through them by
/// `Deref` and takes the first whose bounds hold, so their order is the preference.
macro_rules! levels {
    ($($level:ident [$($bounds:tt)*] over $next:ident: $describe:expr, $rolls_back:expr;)+) => {$(
        #[doc(hidden)]
        #[derive(Debug)]
        pub struct $level<T, E>($next<T, E>);

        impl<T, E> Default for $level<T, E> {
            fn default() -> Self {
                Self($next::default())
            }
        }

        impl<T, E> Deref for $level<T, E> {
            type Target = $next<T, E>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl<T, E: $($bounds)*> $level<T, E> {
            #[doc(hidden)]
            #[must_use]
            pub fn rules(&self) -> Rules<T, E> {
                Rules::described($describe).declared($rolls_back)
            }
        }
    )+};
}

levels! {
    Known [RollbackPolicy + Display] over PolicyDebug: |error: &E| Some(error.to_string()), E::rolls_back;
    PolicyDebug [RollbackPolicy + Debug] over PolicyOnly: |error: &E| Some(format!("{error:?}")), E::rolls_back;
    PolicyOnly [RollbackPolicy] over DisplayOnly: |_| None, E::rolls_back;
    DisplayOnly [Display] over DebugOnly: |error: &E| Some(error.to_string()), |_| true;
    DebugOnly [Debug] over Unknown: |error: &E| Some(format!("{error:?}")), |_| true;
    Unknown [] over End: |_| None, |_| true;
}

#[doc(hidden)]
#[derive(Debug)]
pub struct End<T, E>(PhantomData<fn() -> (T, E)>);

impl<T, E> Default for End<T, E> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// Gives a body its type, in a branch that is never taken.
///
/// # Panics
///
/// Always.
#[must_use]
pub fn never<R>() -> R {
    unreachable!("this branch is never taken")
}

/// What an attempt of a function under `retry` has of an argument.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be handed to a second attempt",
    label = "not `Clone`, and used up by the first attempt",
    note = "`retry` runs the body again with a clone of each argument: derive `Clone`, or take the argument by reference"
)]
pub trait Again {
    /// The argument as the caller gave it.
    #[must_use]
    fn again(&self) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Clone> Again for T {
    fn again(&self) -> Self {
        self.clone()
    }
}

/// The argument as the caller gave it.
pub fn again<T: Again>(argument: &T) -> T {
    argument.again()
}

/// Runs a function's body in its scope.
pub fn run<DB, R, F>(
    db: &Db<DB>,
    options: TransactionOptions,
    rules: Rules<R::Ok, R::Error>,
    body: F,
) -> impl Future<Output = R>
where
    DB: Dialect,
    R: TransactionResult,
    F: AsyncFnOnce() -> R,
{
    let options = RuledOptions { options, rules };
    let run = |body| scope::run(db.source(), options, body);
    Surfaced::new(move || body(), run)
}

/// The attempts at a function that retries.
///
/// The loop around them stands in the function itself: a body that uses an argument up does
/// not compile there, and its future stays `Send`.
pub struct Attempts<DB: Dialect, T, E>(scope::Attempts<DB, T, E>);

impl<DB: Dialect, T, E: From<Error>> Attempts<DB, T, E> {
    /// None is made yet.
    #[must_use]
    pub fn new(db: &Db<DB>, options: TransactionOptions, rules: Rules<T, E>, retry: Retry) -> Self {
        let options = RuledOptions { options, rules };
        Self(scope::Attempts::new(db.source(), options, retry))
    }

    /// Makes one; `None` if another is to follow.
    pub fn make<R, F>(&mut self, body: F) -> impl Future<Output = Option<R>>
    where
        R: TransactionResult<Ok = T, Error = E>,
        F: AsyncFnOnce() -> R,
    {
        Surfaced::new(move || body(), |body| self.0.make(body))
    }

    /// What its results mean.
    #[must_use]
    pub fn rules(&self) -> Rules<T, E> {
        self.0.rules()
    }

    /// When all of them must have ended.
    #[must_use]
    pub fn until(&self) -> Until {
        Until(self.0.deadline())
    }

    /// Runs the hooks of the last one.
    pub fn settle(self) -> Pin<Box<impl Future<Output = ()>>> {
        Box::pin(self.0.settle())
    }
}

impl<DB: Dialect, T, E> Debug for Attempts<DB, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts").finish_non_exhaustive()
    }
}

/// Runs a function's body in its scope, under a lock.
pub fn run_locked<DB, R, F>(
    db: &Db<DB>,
    lock: Lock,
    options: TransactionOptions,
    rules: Rules<R::Ok, R::Error>,
    body: F,
) -> impl Future<Output = R>
where
    DB: Dialect,
    R: TransactionResult,
    F: AsyncFnOnce() -> R,
{
    let options = RuledOptions { options, rules };
    let run = |body| scope::run_locked(db.source(), db.bind(lock), options, body);
    Surfaced::new(move || body(), run)
}

/// What `on = ..` may name.
pub fn provider<P: LockProvider + Clone>(provider: &P) -> Arc<dyn LockProvider> {
    Arc::new(provider.clone())
}

/// Until when a lock is waited for, if not as long as it says itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until(Option<Deadline>);

/// Runs a function's body under a lock of `provider`.
pub fn locked<R, F>(
    provider: Arc<dyn LockProvider>,
    lock: Lock,
    function: Site,
    until: Until,
    rules: Rules<R::Ok, R::Error>,
    body: F,
) -> impl Future<Output = R>
where
    R: TransactionResult,
    F: AsyncFnOnce() -> R,
{
    let lock = lock.bind(|| provider);
    let describe = move |error: &R::Error| rules.describe(error);
    Surfaced::new(
        move || body(),
        |body| async move {
            let body = async || body().await.into_result();
            R::from_result(held_lock::locked(lock, function, until.0, describe, body).await)
        },
    )
}
