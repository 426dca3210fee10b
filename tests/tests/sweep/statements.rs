//! Statements with bound values, for code generic over the database.

use sqlx::{Executor, MySql, Postgres, Sqlite};
use tx_tests::{Answer, Backend};

/// What generic code cannot say without a page of bounds.
pub(crate) trait Bound: Backend {
    /// Inserts the row `id`, its values bound.
    fn put<'e>(executor: impl Executor<'e, Database = Self> + 'e, id: i64) -> Answer<'e, u64>;

    /// How many rows have this id, bound.
    fn count<'e>(executor: impl Executor<'e, Database = Self> + 'e, id: i64) -> Answer<'e, i64>;

    /// Gives back `value`, bound: an answer that belongs to another statement is noticed.
    fn echo<'e>(executor: impl Executor<'e, Database = Self> + 'e, value: i64) -> Answer<'e, i64>;
}

macro_rules! bound {
    ($driver:ty, $insert:literal, $count:literal, $echo:literal) => {
        impl Bound for $driver {
            fn put<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                id: i64,
            ) -> Answer<'e, u64> {
                let query = sqlx::query($insert).bind(id).bind("swept");
                Box::pin(async move { Ok(query.execute(executor).await?.rows_affected()) })
            }

            fn count<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                id: i64,
            ) -> Answer<'e, i64> {
                Box::pin(sqlx::query_scalar($count).bind(id).fetch_one(executor))
            }

            fn echo<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                value: i64,
            ) -> Answer<'e, i64> {
                Box::pin(sqlx::query_scalar($echo).bind(value).fetch_one(executor))
            }
        }
    };
}

bound!(
    Sqlite,
    "insert into t (id, v) values (?1, ?2)",
    "select count(*) from t where id = ?1",
    "select ?1 + 0"
);
bound!(
    Postgres,
    "insert into t (id, v) values ($1, $2)",
    "select count(*) from t where id = $1",
    "select $1::bigint + 0"
);
bound!(
    MySql,
    "insert into t (id, v) values (?, ?)",
    "select count(*) from t where id = ?",
    "select cast(? as signed) + 0"
);
