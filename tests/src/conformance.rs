//! Cases named by their ID, stamped out once per database.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::backend::Backend;
use crate::bed::Bed;
use crate::proxy::Proxy;

/// A case that takes longer hangs; more than the limits within it, which say what does.
const BODY_LIMIT: Duration = Duration::from_mins(5);

/// A case's ID and what it shows.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The ID in the catalogue, as a Rust identifier.
    pub id: &'static str,
    /// What must hold.
    pub title: &'static str,
}

/// Says which case it was, below the panic message of the assertion in its body.
struct Named {
    case: Case,
    database: &'static str,
}

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { case, database } = self;
            eprintln!("{} on {database} failed: {}", case.id, case.title);
        }
    }
}

impl Named {
    async fn bounded<T>(&self, what: &str, step: impl Future<Output = T>) -> T {
        timeout(BODY_LIMIT, step).await.unwrap_or_else(|_| {
            let Self { case, database } = self;
            panic!("{} on {database}: {what} hangs: {}", case.id, case.title)
        })
    }
}

/// Runs one case on one database.
///
/// # Panics
///
/// If the body does, hangs, or leaves the pool unclean.
#[doc(hidden)]
pub async fn run<B: Backend>(
    case: Case,
    bed: impl Future<Output = Option<Bed<B>>>,
    body: impl AsyncFnOnce(&Arc<Bed<B>>),
) {
    let database = B::LABEL;
    let named = Named { case, database };
    let Some(bed) = bed.await else { return };
    let bed = Arc::new(bed);
    named.bounded("the body", body(&bed)).await;
    named.bounded("the clean-up", bed.assert_clean()).await;
    if let Some(bed) = Arc::into_inner(bed) {
        bed.finish().await;
    }
}

/// As [`run`], for a body that also reads the wire.
///
/// # Panics
///
/// If the body does, hangs, or leaves the pool unclean.
#[doc(hidden)]
pub async fn run_proxied<B: Backend>(
    case: Case,
    bed: impl Future<Output = Option<(Bed<B>, Proxy)>>,
    body: impl AsyncFnOnce(&Arc<Bed<B>>, &Proxy),
) {
    let database = B::LABEL;
    let named = Named { case, database };
    let Some((bed, proxy)) = bed.await else {
        return;
    };
    let bed = Arc::new(bed);
    named.bounded("the body", body(&bed, &proxy)).await;
    named.bounded("the clean-up", bed.assert_clean()).await;
    if let Some(bed) = Arc::into_inner(bed) {
        bed.finish().await;
    }
}

/// A conformance case: a module named by the ID with one test per database.
///
/// ```ignore
/// tx_tests::case! {
///     p_01 on sqlite, postgres, mysql;
///     "a Required scope without a transaction begins and commits one";
///     async fn<B>(bed) {
///         bed.db.transaction(async || bed.insert(1).await.map_err(Error::from)).await.unwrap();
///         assert_eq!(bed.rows().await, [1]);
///     }
/// }
/// ```
///
/// After the databases may follow `pool = N;` for the pool's size, or `bed = EXPR;` for any
/// expression of `Future<Output = Option<Bed<B>>>`. A body of two parameters, `(bed, proxy)`,
/// runs through a [`Proxy`]; it is for servers only, and `bed` is then a future of
/// `Option<(Bed<B>, Proxy)>`. `bed` is a `&Arc<Bed<B>>`,
/// so that tasks can have a clone. The body sees the imports of the surrounding module.
#[macro_export]
macro_rules! case {
    ($id:ident on $($database:ident),+; $title:literal; async fn<$B:ident>($($arg:ident),+) $body:block) => {
        $crate::case! { $id on $($database),+; pool = 4; $title; async fn<$B>($($arg),+) $body }
    };
    ($id:ident on $($database:ident),+; pool = $pool:expr; $title:literal; async fn<$B:ident>($bed:ident) $body:block) => {
        $crate::case! { $id on $($database),+; bed = $crate::Bed::<$B>::with_pool($pool); $title; async fn<$B>($bed) $body }
    };
    ($id:ident on $($database:ident),+; pool = $pool:expr; $title:literal; async fn<$B:ident>($bed:ident, $proxy:ident) $body:block) => {
        $crate::case! {
            $id on $($database),+;
            bed = $crate::Bed::<$B>::proxied($pool, $crate::Shape::WHOLE);
            $title;
            async fn<$B>($bed, $proxy) $body
        }
    };
    ($id:ident on $($database:ident),+; bed = $make:expr; $title:literal; async fn<$B:ident>($bed:ident) $body:block) => {
        mod $id {
            #[allow(unused_imports, reason = "not every body names something of its module")]
            use super::*;

            async fn run<$B: $crate::Backend>() {
                let case = $crate::Case { id: stringify!($id), title: $title };
                $crate::__private::run::<$B>(case, $make, body::<$B>).await;
            }

            async fn body<$B: $crate::Backend>($bed: &std::sync::Arc<$crate::Bed<$B>>) $body

            $($crate::case! { @test $database })+
        }
    };
    ($id:ident on $($database:ident),+; bed = $make:expr; $title:literal; async fn<$B:ident>($bed:ident, $proxy:ident) $body:block) => {
        mod $id {
            #[allow(unused_imports, reason = "not every body names something of its module")]
            use super::*;

            async fn run<$B: $crate::Backend>() {
                let case = $crate::Case { id: stringify!($id), title: $title };
                $crate::__private::run_proxied::<$B>(case, $make, body::<$B>).await;
            }

            async fn body<$B: $crate::Backend>($bed: &std::sync::Arc<$crate::Bed<$B>>, $proxy: &$crate::Proxy) $body

            $($crate::case! { @test $database })+
        }
    };
    (@test sqlite) => { $crate::case! { @test sqlite, sqlx::Sqlite } };
    (@test postgres) => { $crate::case! { @test postgres, sqlx::Postgres } };
    (@test mysql) => { $crate::case! { @test mysql, sqlx::MySql } };
    (@test $database:ident, $driver:ty) => {
        #[test]
        fn $database() {
            $crate::__private::tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(run::<$driver>());
        }
    };
}
