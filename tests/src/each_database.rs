//! Tests that are written once and run on every database.

/// Makes a test on each database of the async function `$name<B>`, which returns early where
/// [`Bed`](crate::Bed) finds no server.
#[macro_export]
macro_rules! on_each_database {
    ($name:ident) => {
        mod $name {
            #[test]
            fn sqlite() {
                $crate::__private::on_two_workers(super::$name::<$crate::__private::Sqlite>());
            }

            #[test]
            fn postgres() {
                $crate::__private::on_two_workers(super::$name::<$crate::__private::Postgres>());
            }

            #[test]
            fn mysql() {
                $crate::__private::on_two_workers(super::$name::<$crate::__private::MySql>());
            }
        }
    };
}

/// Runs a test where its tasks can overtake each other.
///
/// # Panics
///
/// If the test does.
#[doc(hidden)]
pub fn on_two_workers(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}
