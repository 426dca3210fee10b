//! The database that `--database-url` names.

use std::time::Duration;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Database as Driver};
use tempfile::TempDir;
use tx_runtime::{Db, Dialect};

use crate::Failure;

/// How long a request waits for a connection.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(10);

/// How long the database may take to let go of us.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A database, and how to connect to it.
#[derive(Debug)]
pub enum Database {
    /// A file.
    Sqlite(SqliteFile),
    /// A `PostgreSQL` server.
    Postgres(PgConnectOptions),
    /// A `MariaDB` or `MySQL` server.
    MySql(MySqlConnectOptions),
}

impl Database {
    /// The database at `url`; without one, a SQLite file that goes when this value does.
    ///
    /// # Errors
    ///
    /// If the URL is of no database that the examples run on.
    pub fn of(url: Option<&str>) -> Result<Self, Failure> {
        let Some(url) = url else {
            return Ok(Self::Sqlite(SqliteFile::temporary()?));
        };
        match url.split(':').next() {
            Some("sqlite") => Ok(Self::Sqlite(SqliteFile::at(url.parse()?))),
            Some("postgres" | "postgresql") => Ok(Self::Postgres(url.parse()?)),
            Some("mysql" | "mariadb") => Ok(Self::MySql(url.parse()?)),
            _ => Err(
                "the database URL must begin with sqlite:, postgres:, mysql: or mariadb:".into(),
            ),
        }
    }
}

/// A SQLite file, opened as a service would: readers go on beside the one writer.
#[derive(Debug)]
pub struct SqliteFile {
    options: SqliteConnectOptions,
    /// Removes the file in the end.
    _directory: Option<TempDir>,
}

impl SqliteFile {
    fn temporary() -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let file = SqliteConnectOptions::new().filename(directory.path().join("example.db"));
        Ok(Self {
            _directory: Some(directory),
            ..Self::at(file)
        })
    }

    fn at(options: SqliteConnectOptions) -> Self {
        Self {
            options: options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal),
            _directory: None,
        }
    }

    /// How to connect to it.
    #[must_use]
    pub fn options(&self) -> SqliteConnectOptions {
        self.options.clone()
    }
}

/// A pool of so many connections.
///
/// # Errors
///
/// If the database cannot be opened.
pub async fn connect<DB: Dialect>(
    options: <<DB as Driver>::Connection as Connection>::Options,
    connections: u32,
) -> Result<Db<DB>, Failure> {
    let pool = PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_LIMIT);
    Ok(Db::<DB>::connect_with(pool, options).await?)
}

/// What kind of server `DB` is, for people: its driver serves two makes under one name.
#[must_use]
pub fn make<DB: Dialect>() -> &'static str {
    match DB::NAME {
        "MySQL" => "MySQL/MariaDB",
        name => name,
    }
}

/// Waits until the last transaction has ended, and closes the pool.
pub async fn close<DB: Dialect>(db: Db<DB>) {
    let closed = tokio::time::timeout(CLOSE_LIMIT, async {
        db.drain().await;
        db.pool().close().await;
    });
    if closed.await.is_err() {
        eprintln!("warning: the database did not let go within {CLOSE_LIMIT:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Database, close, connect};

    #[tokio::test]
    async fn without_a_url_there_is_a_file_for_as_long_as_it_is_needed() {
        let database = Database::of(None).expect("a file");
        let Database::Sqlite(file) = &database else {
            panic!("{database:?}");
        };
        let path = file.options().get_filename().to_owned();
        let db = connect::<sqlx::Sqlite>(file.options(), 2).await;
        assert!(path.exists());
        close(db.expect("it opens")).await;
        drop(database);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn why_a_database_cannot_be_opened_is_said() {
        let nobody = "postgres://postgres@127.0.0.1:1/x";
        let Ok(Database::Postgres(options)) = Database::of(Some(nobody)) else {
            panic!("{nobody} is a URL");
        };
        let error = connect::<sqlx::Postgres>(options, 2).await;
        let error = error.expect_err("nobody listens there").to_string();
        assert!(error.contains("nobody listens there"), "{error}");
    }

    #[test]
    fn a_url_says_which_database() {
        let is = |url, kind: fn(&Database) -> bool| Database::of(Some(url)).is_ok_and(|d| kind(&d));
        assert!(is("sqlite:a.db", |d| matches!(d, Database::Sqlite(_))));
        assert!(is("postgres://host/name", |d| matches!(
            d,
            Database::Postgres(_)
        )));
        assert!(is("mariadb://host/name", |d| matches!(
            d,
            Database::MySql(_)
        )));
        let error = Database::of(Some("oracle:x")).expect_err("no such database");
        assert!(
            error.to_string().contains("must begin with sqlite:"),
            "{error}"
        );
    }
}
