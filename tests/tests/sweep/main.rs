//! The sweep: a caller walks away at every await point in turn, and nothing stays behind.
//!
//! Work of every kind of message is dropped when it is pending for the n-th time, for n = 1,
//! 2, 3 and so on until it completes. After each drop the pool must be clean, the work stored
//! whole or not at all, and the next user of the connection served rightly. The same sweep
//! over plain sqlx must find faults, or it would prove nothing.

mod commit;
mod forms;
mod locks;
mod parts;
mod statements;
mod subject;
mod tally;
mod work;

use sqlx::{MySql, Postgres, Sqlite};

use tally::{FIVE_BYTES, SEVEN_BYTES, TEN_TIMES, WHOLE};

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}

macro_rules! sweeps {
    ($($test:ident: $driver:ty, $way:expr;)+) => {
        $(mod $test {
            use super::*;

            #[test]
            fn forms() {
                run(forms::all::<$driver>($way));
            }

            #[test]
            fn nested() {
                run(parts::nested::<$driver>($way));
            }

            #[test]
            fn parts() {
                run(parts::others::<$driver>($way));
            }

            #[test]
            fn locks() {
                run(locks::all::<$driver>($way));
            }
        })+
    };
}

sweeps! {
    postgres: Postgres, WHOLE;
    postgres_in_pieces: Postgres, SEVEN_BYTES;
    mysql: MySql, WHOLE;
    mysql_in_pieces: MySql, FIVE_BYTES;
    sqlite: Sqlite, TEN_TIMES;
}
