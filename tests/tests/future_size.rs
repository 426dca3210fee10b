//! How large the futures of annotated functions are, beside those of the same functions without the
//! attribute: a scope adds a constant, and does not double what is inside it.

use sqlx::Sqlite;
use sqlx::pool::PoolOptions;
use tx_runtime::{Db, Error, SqliteDb, transactional};

/// Three functions that call each other, each with a statement and 64 bytes that live across it.
macro_rules! three_levels {
    ($module:ident $(, $attribute:meta)?) => {
        mod $module {
            use super::{Error, SqliteDb, statement};
            #[allow(unused_imports, reason = "one of the modules goes without")]
            use super::transactional;

            $(#[$attribute])?
            pub(super) async fn first(db: &SqliteDb, bytes: [u8; 64]) -> Result<u64, Error> {
                statement(db).await?;
                Ok(second(db, bytes).await? + u64::from(bytes[0]))
            }

            $(#[$attribute])?
            pub(super) async fn second(db: &SqliteDb, bytes: [u8; 64]) -> Result<u64, Error> {
                statement(db).await?;
                Ok(third(db, bytes).await? + u64::from(bytes[0]))
            }

            $(#[$attribute])?
            pub(super) async fn third(db: &SqliteDb, bytes: [u8; 64]) -> Result<u64, Error> {
                statement(db).await?;
                Ok(u64::from(bytes[0]))
            }
        }
    };
}

three_levels!(plain);
three_levels!(annotated, transactional);
three_levels!(locked, transactional(lock = "k"));
three_levels!(retried, transactional(retry(attempts = 2)));

async fn statement(db: &SqliteDb) -> Result<(), Error> {
    sqlx::query("select 1").execute(db).await?;
    Ok(())
}

fn size<F: Future>(future: F) -> usize {
    let size = size_of_val(&future);
    drop(future);
    size
}

fn db() -> SqliteDb {
    let pool = PoolOptions::<Sqlite>::new().connect_lazy("sqlite::memory:");
    Db::new(pool.expect("a URL"))
}

#[tokio::test]
async fn three_levels_stay_near_the_plain_functions() {
    let db = db();
    let bytes = [1; 64];
    let plain = size(plain::first(&db, bytes));
    let annotated = size(annotated::first(&db, bytes));
    let locked = size(locked::first(&db, bytes));
    let retried = size(retried::first(&db, bytes));
    eprintln!(
        "future sizes: plain {plain}, annotated {annotated}, locked {locked}, retried {retried}"
    );
    assert!(annotated * 2 <= plain * 3, "{annotated} to {plain} bytes");
}

#[tokio::test]
async fn a_level_adds_a_constant() {
    let db = db();
    let bytes = [1; 64];
    let sizes = [
        size(annotated::third(&db, bytes)),
        size(annotated::second(&db, bytes)),
        size(annotated::first(&db, bytes)),
    ];
    let plain = size(plain::first(&db, bytes)) - size(plain::second(&db, bytes));
    eprintln!("future sizes by level: {sizes:?}, a plain level {plain}");
    assert!(sizes[2] - sizes[1] <= sizes[1] - sizes[0], "{sizes:?}");
}
