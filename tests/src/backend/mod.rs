//! What a test may ask of any of the three databases, so that it is written once.
//!
//! Generic code cannot use `sqlx::query` without a page of bounds; the helpers here are
//! implemented on each driver and need none.

mod mysql;
mod postgres;
mod sqlite;

use futures_util::future::BoxFuture;
use sqlx::pool::PoolOptions;
use sqlx::{Connection, Database, Executor, Pool};
use tx_runtime::Dialect;

use crate::proxy::Protocol;
use crate::scratch::Scratch;

/// The connect options of a database.
pub type ConnectOptions<B> = <<B as Database>::Connection as Connection>::Options;

/// The result of a statement.
pub type Answer<'e, T> = BoxFuture<'e, Result<T, sqlx::Error>>;

/// A database that tests run on.
pub trait Backend: Dialect {
    /// `sqlite`, `postgres` or `mysql`, as it stands in test names.
    const LABEL: &'static str;

    /// Whether there is a server, and so a wire, process ids and concurrent writers.
    const SERVER: bool;

    /// Whether the server can be asked what became of a transaction that has ended.
    const TELLS_FATES: bool;

    /// Lists every database of the server.
    #[doc(hidden)]
    const LIST_DATABASES: &'static str;

    /// What the server knows about each connection to this database but the asking one.
    #[doc(hidden)]
    const SERVER_VIEW: &'static str;

    /// The connections to this database but the asking one.
    #[doc(hidden)]
    const CONNECTIONS: &'static str;

    /// Names the connection it runs on.
    #[doc(hidden)]
    const PID: &'static str;

    /// The protocol on the wire; `None` without a server.
    #[doc(hidden)]
    const PROTOCOL: Option<Protocol>;

    /// A fresh database with the tables, or `None` where the server is absent.
    fn scratch() -> BoxFuture<'static, Option<Scratch<Self>>>;

    /// Drops the database `name`; `options` lead to it or to its server.
    #[doc(hidden)]
    fn discard(name: String, options: ConnectOptions<Self>) -> Answer<'static, ()>;

    /// A connection as an executor, in code generic over the database.
    fn on(connection: &mut Self::Connection) -> impl Executor<'_, Database = Self> + '_;

    /// A pool as an executor, in code generic over the database.
    fn pool(pool: &Pool<Self>) -> impl Executor<'_, Database = Self> + '_;

    /// Runs a prepared statement; gives the number of rows it changed.
    fn exec<'e>(executor: impl Executor<'e, Database = Self> + 'e, sql: &str) -> Answer<'e, u64>;

    /// Runs a prepared statement; gives the integers in its first column.
    fn ints<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        sql: &str,
    ) -> Answer<'e, Vec<i64>>;

    /// Runs a prepared statement; gives the integer in its first row.
    fn int<'e>(executor: impl Executor<'e, Database = Self> + 'e, sql: &str) -> Answer<'e, i64>;

    /// Runs a prepared statement; gives the strings in its first column, NULL as `NULL`.
    fn texts<'e>(
        executor: impl Executor<'e, Database = Self> + 'e,
        sql: &str,
    ) -> Answer<'e, Vec<String>>;

    /// Sends `sql`, of one or many statements, unprepared.
    fn raw<'e>(executor: impl Executor<'e, Database = Self> + 'e, sql: &str) -> Answer<'e, u64>;

    /// The connections to this database, but the asking one, that the server sees inside a
    /// transaction.
    #[doc(hidden)]
    fn in_transaction(connection: &mut Self::Connection) -> Answer<'_, Vec<i64>>;

    /// Whether the server says that this connection is inside a transaction, where only
    /// the connection itself can be asked.
    #[doc(hidden)]
    fn is_inside(connection: &mut Self::Connection) -> BoxFuture<'_, bool>;

    /// Whether nobody holds a lock on the row `id` of `t`.
    #[doc(hidden)]
    fn is_free(connection: &mut Self::Connection, id: i64) -> Answer<'_, bool>;

    /// Ends the connection `pid` from the server's side.
    #[doc(hidden)]
    fn kill(pid: i64) -> String;

    /// The name that the server knows the lock `key` by, as an expression.
    #[doc(hidden)]
    fn lock_name(key: &str) -> String;

    /// Asks for the connections that have the server's lock of this name.
    #[doc(hidden)]
    fn lock_holders(name: &str) -> String;

    /// Takes the server's lock of this name for a session.
    #[doc(hidden)]
    fn take_lock(name: &str) -> String;

    /// Opens it again.
    #[doc(hidden)]
    fn open_lock(name: &str) -> String;

    /// Asks for the connections, but the asking one, that have any named lock of the server,
    /// where there is such a list.
    #[doc(hidden)]
    const ALL_LOCK_HOLDERS: Option<&'static str>;

    /// Gives connections an identity where the database gives them none.
    #[doc(hidden)]
    #[must_use]
    fn identified(pool: PoolOptions<Self>) -> PoolOptions<Self> {
        pool
    }

    /// Settings without which changes go unrecorded in a history.
    #[must_use]
    fn recording(options: ConnectOptions<Self>) -> ConnectOptions<Self> {
        options
    }

    /// A name as SQL has it, whatever it contains.
    #[must_use]
    fn quoted(name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    /// Host and port of the server.
    #[doc(hidden)]
    fn address(options: &ConnectOptions<Self>) -> Option<String>;

    /// As `options`, through a proxy on the local port `port` and in the clear.
    #[doc(hidden)]
    fn through(options: ConnectOptions<Self>, port: u16) -> ConnectOptions<Self>;
}

/// The statement helpers of [`Backend`], the same text for every driver.
macro_rules! statements {
    ($driver:ty) => {
        fn on(connection: &mut Self::Connection) -> impl sqlx::Executor<'_, Database = Self> + '_ {
            connection
        }

        fn pool(pool: &sqlx::Pool<Self>) -> impl sqlx::Executor<'_, Database = Self> + '_ {
            pool
        }

        fn exec<'e>(
            executor: impl sqlx::Executor<'e, Database = Self> + 'e,
            sql: &str,
        ) -> $crate::backend::Answer<'e, u64> {
            let query = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
            Box::pin(async move { Ok(query.execute(executor).await?.rows_affected()) })
        }

        fn ints<'e>(
            executor: impl sqlx::Executor<'e, Database = Self> + 'e,
            sql: &str,
        ) -> $crate::backend::Answer<'e, Vec<i64>> {
            let query = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
            Box::pin(async move {
                let rows = query.fetch_all(executor).await?;
                rows.iter()
                    .map(|row| sqlx::Row::try_get_unchecked(row, 0))
                    .collect()
            })
        }

        fn int<'e>(
            executor: impl sqlx::Executor<'e, Database = Self> + 'e,
            sql: &str,
        ) -> $crate::backend::Answer<'e, i64> {
            let query = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
            Box::pin(async move {
                let row = query.fetch_one(executor).await?;
                sqlx::Row::try_get_unchecked(&row, 0)
            })
        }

        fn texts<'e>(
            executor: impl sqlx::Executor<'e, Database = Self> + 'e,
            sql: &str,
        ) -> $crate::backend::Answer<'e, Vec<String>> {
            let query = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
            Box::pin(async move {
                let rows = query.fetch_all(executor).await?;
                rows.iter()
                    .map(|row| {
                        let text: Option<String> = sqlx::Row::try_get_unchecked(row, 0)?;
                        Ok(text.unwrap_or_else(|| "NULL".to_owned()))
                    })
                    .collect()
            })
        }

        fn raw<'e>(
            executor: impl sqlx::Executor<'e, Database = Self> + 'e,
            sql: &str,
        ) -> $crate::backend::Answer<'e, u64> {
            let query = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
            Box::pin(async move { Ok(query.execute(executor).await?.rows_affected()) })
        }
    };
}
use statements;
