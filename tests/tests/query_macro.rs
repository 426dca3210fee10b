//! sqlx's checked macros through `&Db`: they take it as they take a pool.
//!
//! They are checked against descriptions of their queries in `tests/.sqlx`, so that the build
//! needs no database; `tests/.env` keeps a `DATABASE_URL` of the developer's own from being
//! asked instead. To describe a changed query, leave only its database's `macros!` below, make
//! the table `t` in a database, and build with its `DATABASE_URL`, `SQLX_OFFLINE=false` and
//! `SQLX_OFFLINE_DIR` set to the absolute path of `tests/.sqlx`.

use futures_util::TryStreamExt as _;
use sqlx::{MySql, Postgres, Sqlite};
use tx_runtime::{Db, Error, transactional};
use tx_tests::Bed;

/// A row of `t`, for `query_as!`.
#[derive(Debug, PartialEq)]
struct Entry {
    id: i64,
    v: Option<String>,
}

fn entry(id: i64, v: &str) -> Entry {
    let v = Some(v.to_owned());
    Entry { id, v }
}

/// A module for each database: the macros know their types, so nothing here is generic.
///
/// No two databases may have a query of the same text, which its description is found by.
macro_rules! macros {
    ($name:ident: $driver:ty, $insert:literal, $entry:literal, $entries:literal, $count:literal) => {
        mod $name {
            use super::*;

            async fn add(db: &Db<$driver>, id: i64, v: &str) -> Result<u64, Error> {
                let inserted = sqlx::query!($insert, id, v).execute(db).await?;
                Ok(inserted.rows_affected())
            }

            /// Each macro and each way to fetch, in the transaction of the caller.
            #[transactional(propagation = Mandatory)]
            async fn look(db: &Db<$driver>) -> Result<(), Error> {
                let row = sqlx::query!($entry, 1_i64).fetch_one(db).await?;
                assert_eq!((row.id, row.v.as_deref()), (1, Some("one")));
                let row = sqlx::query!($entry, 7_i64).fetch_optional(db).await?;
                assert!(row.is_none());
                let found = sqlx::query_as!(Entry, $entries).fetch_all(db).await?;
                assert_eq!(found, [entry(1, "one"), entry(2, "two")]);
                let mut found = sqlx::query_as!(Entry, $entries).fetch(db);
                while let Some(found) = found.try_next().await? {
                    assert!(found.v.is_some());
                }
                let count: i64 = sqlx::query_scalar!($count).fetch_one(db).await?;
                assert_eq!(count, 2);
                Ok(())
            }

            #[tokio::test]
            async fn in_a_scope() {
                let Some(bed) = Bed::<$driver>::new().await else {
                    return;
                };
                let db = &bed.db;
                let scope = db.transaction(async || {
                    assert_eq!(add(db, 1, "one").await?, 1);
                    assert_eq!(add(db, 2, "two").await?, 1);
                    assert!(bed.rows().await.is_empty(), "not committed yet");
                    look(db).await
                });
                scope.await.unwrap();
                assert_eq!(bed.rows().await, [1, 2]);

                let failed = db.transaction(async || {
                    add(db, 3, "three").await?;
                    add(db, 3, "three").await
                });
                failed.await.unwrap_err();
                assert_eq!(bed.rows().await, [1, 2]);

                let refused = add(db, 4, "four").await.unwrap_err();
                assert!(matches!(refused, Error::OutsideScope), "{refused:?}");
                bed.assert_clean().await;
            }
        }
    };
}

macros!(
    sqlite: Sqlite,
    "insert into t (id, v) values (?1, ?2)",
    "select id, v from t where id = ?1",
    "select id, v from t order by id",
    "select count(*) from t"
);
macros!(
    postgres: Postgres,
    "insert into t (id, v) values ($1, $2)",
    "select id, v from t where id = $1",
    "select id, v from t order by id asc",
    r#"select count(*) as "count!" from t"#
);
macros!(
    mysql: MySql,
    "insert into t (id, v) values (?, ?)",
    "select id, v from t where id = ?",
    "select id, v from t order by t.id",
    "select count(id) from t"
);
