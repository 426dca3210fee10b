//! SQLite.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection, Sqlite};

use super::{Answer, Backend, statements};
use crate::proxy::Protocol;
use crate::scratch::{self, Scratch};

const TABLES: &str = "
    create table t (id integer primary key, v text);
    create table parent (id integer primary key);
    create table child (
        id integer primary key,
        parent_id integer references parent deferrable initially deferred
    )";

/// For how long a connection waits for the write lock: far more than any test needs, so that who
/// waits for itself is told apart from who waits on a busy machine.
const BUSY_LIMIT: Duration = Duration::from_mins(1);

async fn create(name: String) -> Result<Scratch<Sqlite>, sqlx::Error> {
    let directory = std::env::temp_dir().join(&name);
    std::fs::create_dir_all(&directory)?;
    let options = SqliteConnectOptions::new()
        .filename(directory.join("scratch.sqlite"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(BUSY_LIMIT)
        .foreign_keys(true);
    let scratch = Scratch::new(name, options.clone());
    let mut connection = options.connect().await?;
    Sqlite::raw(&mut connection, TABLES).await?;
    connection.close().await?;
    Ok(scratch)
}

impl Backend for Sqlite {
    const LABEL: &'static str = "sqlite";
    const SERVER: bool = false;
    const TELLS_FATES: bool = false;
    const LIST_DATABASES: &'static str = "select name from pragma_database_list";
    const SERVER_VIEW: &'static str = "select 'SQLite has no view of its connections'";
    const CONNECTIONS: &'static str = "select 1 where false";
    const PID: &'static str = "select id from temp.identity";
    const PROTOCOL: Option<Protocol> = None;

    fn scratch() -> BoxFuture<'static, Option<Scratch<Self>>> {
        Box::pin(async {
            let scratch = create(scratch::fresh_name()).await;
            Some(scratch.unwrap_or_else(|error| panic!("sqlite: no scratch database: {error}")))
        })
    }

    fn discard(name: String, _: SqliteConnectOptions) -> Answer<'static, ()> {
        let directory = std::env::temp_dir().join(name);
        Box::pin(async move { Ok(std::fs::remove_dir_all(directory)?) })
    }

    statements!(Sqlite);

    fn is_inside(connection: &mut SqliteConnection) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            match Self::raw(&mut *connection, "BEGIN").await {
                Ok(_) => {
                    drop(Self::raw(connection, "ROLLBACK").await);
                    false
                }
                Err(error) => error.to_string().contains("within a transaction"),
            }
        })
    }

    fn in_transaction(_: &mut SqliteConnection) -> Answer<'_, Vec<i64>> {
        // There is no server that could tell.
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn is_free(connection: &mut SqliteConnection, _: i64) -> Answer<'_, bool> {
        // There are no row locks: the row is free when the one write lock is.
        Box::pin(async move {
            Self::raw(&mut *connection, "pragma busy_timeout = 0").await?;
            let begun = Self::raw(&mut *connection, "BEGIN IMMEDIATE").await;
            let ended = match begun {
                Ok(_) => Self::raw(&mut *connection, "ROLLBACK").await.map(|_| true),
                Err(sqlx::Error::Database(error)) if error.message().contains("locked") => {
                    Ok(false)
                }
                Err(error) => Err(error),
            };
            let limit = BUSY_LIMIT.as_millis();
            Self::raw(connection, &format!("pragma busy_timeout = {limit}")).await?;
            ended
        })
    }

    fn kill(_: i64) -> String {
        panic!("SQLite has no server that could end a connection")
    }

    fn lock_name(_: &str) -> String {
        panic!("SQLite has no named locks")
    }

    fn lock_holders(_: &str) -> String {
        panic!("SQLite has no named locks")
    }

    fn take_lock(_: &str) -> String {
        panic!("SQLite has no named locks")
    }

    fn open_lock(_: &str) -> String {
        panic!("SQLite has no named locks")
    }

    const ALL_LOCK_HOLDERS: Option<&'static str> = None;

    fn identified(pool: PoolOptions<Self>) -> PoolOptions<Self> {
        static NEXT: AtomicI64 = AtomicI64::new(1);
        pool.after_connect(|connection, _| {
            Box::pin(async move {
                let id = NEXT.fetch_add(1, Ordering::Relaxed);
                let sql = format!("create temp table identity as select {id} as id");
                Self::raw(connection, &sql).await.map(drop)
            })
        })
    }

    fn recording(options: SqliteConnectOptions) -> SqliteConnectOptions {
        options.pragma("recursive_triggers", "ON")
    }

    fn address(_: &SqliteConnectOptions) -> Option<String> {
        None
    }

    fn through(options: SqliteConnectOptions, _: u16) -> SqliteConnectOptions {
        options
    }
}
