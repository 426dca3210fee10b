//! The services on the database that was asked for.

use std::process::ExitCode;

use interest_asset::instance::Instance;
use interest_asset::store::Store;
use sqlx::{Connection, Database as Driver, MySql, Postgres, Sqlite};
use stage::{Database, Failure, close, connect};
use tx_runtime::{Db, LocalLocks};

use crate::{arguments, redis};

type Options<DB> = <<DB as Driver>::Connection as Connection>::Options;

/// What is done with the services, whichever database they are on.
pub(crate) trait Task {
    async fn run<DB: Store>(&self, instances: &[Instance<DB>]) -> Result<ExitCode, Failure>;
}

/// Runs `task` on the database that was asked for, its tables created.
///
/// # Errors
///
/// If the database cannot be opened, or the task fails.
pub(crate) async fn on_instances<T: Task>(
    asked: &arguments::Database,
    task: &T,
) -> Result<ExitCode, Failure> {
    match &Database::of(asked.url.as_deref())? {
        Database::Sqlite(file) => on::<Sqlite, T>(&file.options(), asked, task).await,
        Database::Postgres(options) => on::<Postgres, T>(options, asked, task).await,
        Database::MySql(options) => on::<MySql, T>(options, asked, task).await,
    }
}

async fn on<DB: Store, T: Task>(
    options: &Options<DB>,
    asked: &arguments::Database,
    task: &T,
) -> Result<ExitCode, Failure> {
    // For the incident without Redis: instances in one process can share them.
    let incident_locks = LocalLocks::new();
    let mut instances = Vec::new();
    for _ in 0..asked.instances {
        let db = connect::<DB>(options.clone(), asked.pool).await?;
        instances.push(match &asked.redis {
            None => Instance::new(db, incident_locks.clone()),
            Some(url) => with_locks_in_redis(&db, url).await?,
        });
    }
    let db = &instances[0].db;
    let created = "the tables cannot be created";
    let migrated = DB::migrate(db.pool()).await;
    migrated.map_err(|error| format!("{created}: {error}"))?;
    if asked.redis.is_some() {
        let fenced = db.create_fence_table().await;
        fenced.map_err(|error| format!("{created}: {error}"))?;
    }
    let outcome = task.run(&instances).await;
    for instance in instances {
        close(instance.db).await;
    }
    outcome
}

/// The instance on the pool of `db` whose locks, the incident's too, are in Redis.
async fn with_locks_in_redis<DB: Store>(db: &Db<DB>, url: &str) -> Result<Instance<DB>, Failure> {
    let locks = redis::locks(url).await?;
    let db = Db::builder(db.pool().clone()).locks(locks.clone()).build();
    Ok(Instance::new(db, locks))
}
