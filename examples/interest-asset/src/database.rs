//! Opens the database that a URL names, and closes it when the work on it is done.

use std::process::ExitCode;
use std::time::Duration;

use interest_asset::instance::Instance;
use interest_asset::store::Store;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Database as Driver, MySql, Postgres, Sqlite};
use tx_runtime::{Db, LocalLocks};

use crate::arguments::Database;
use crate::{Failure, redis};

/// How long a request waits for a connection.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(10);

/// How long the database may take to let go of us.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

type Options<DB> = <<DB as Driver>::Connection as Connection>::Options;

/// What is done with a database, whichever it is.
pub(crate) trait Task {
    async fn run<DB: Store>(&self, instances: &[Instance<DB>]) -> Result<ExitCode, Failure>;
}

/// Runs `task` on the database that was asked for, its tables created.
///
/// # Errors
///
/// If the database cannot be opened, or the task fails.
pub(crate) async fn on_database<T: Task>(
    database: &Database,
    task: &T,
) -> Result<ExitCode, Failure> {
    let Some(url) = &database.url else {
        let directory = tempfile::tempdir()?;
        let file = SqliteConnectOptions::new().filename(directory.path().join("assets.db"));
        return on::<Sqlite, T>(sqlite(file), database, task).await;
    };
    match url.split(':').next() {
        Some("sqlite") => on::<Sqlite, T>(sqlite(url.parse()?), database, task).await,
        Some("postgres" | "postgresql") => on::<Postgres, T>(url.parse()?, database, task).await,
        Some("mysql" | "mariadb") => on::<MySql, T>(url.parse()?, database, task).await,
        _ => Err("the database URL must begin with sqlite:, postgres:, mysql: or mariadb:".into()),
    }
}

/// SQLite as a service would open it: readers go on beside the one writer.
fn sqlite(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
}

async fn on<DB: Store, T: Task>(
    options: Options<DB>,
    database: &Database,
    task: &T,
) -> Result<ExitCode, Failure> {
    // For the incident without Redis: instances in one process can share them.
    let incident_locks = LocalLocks::new();
    let mut instances = Vec::new();
    for _ in 0..database.instances {
        let db = connect::<DB>(options.clone(), database.pool).await?;
        instances.push(match &database.redis {
            None => Instance::new(db, incident_locks.clone()),
            Some(url) => with_locks_in_redis(&db, url).await?,
        });
    }
    let db = &instances[0].db;
    let created = "the tables cannot be created";
    let migrated = DB::migrate(db.pool()).await;
    migrated.map_err(|error| format!("{created}: {error}"))?;
    if database.redis.is_some() {
        let fenced = db.create_fence_table().await;
        fenced.map_err(|error| format!("{created}: {error}"))?;
    }
    let outcome = task.run(&instances).await;
    for instance in instances {
        close(instance.db).await;
    }
    outcome
}

async fn connect<DB: Store>(options: Options<DB>, pool: u32) -> Result<Db<DB>, Failure> {
    let pool = PoolOptions::new()
        .max_connections(pool)
        .acquire_timeout(ACQUIRE_LIMIT);
    let db = Db::<DB>::connect_with(pool, options)
        .await
        .map_err(|error| format!("the database cannot be opened: {error}"))?;
    Ok(db)
}

/// The instance on the pool of `db` whose locks, the incident's too, are in Redis.
async fn with_locks_in_redis<DB: Store>(db: &Db<DB>, url: &str) -> Result<Instance<DB>, Failure> {
    let locks = redis::locks(url).await?;
    let db = Db::builder(db.pool().clone()).locks(locks.clone()).build();
    Ok(Instance::new(db, locks))
}

async fn close<DB: Store>(db: Db<DB>) {
    let closed = tokio::time::timeout(CLOSE_LIMIT, async {
        db.drain().await;
        db.pool().close().await;
    });
    if closed.await.is_err() {
        eprintln!("warning: the database did not let go within {CLOSE_LIMIT:?}");
    }
}
