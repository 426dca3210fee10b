//! The tables on the database that was asked for.

use std::process::ExitCode;

use sqlx::{ConnectOptions, Connection, Database as Driver, MySql, Postgres, Sqlite};
use stage::{Database, Failure, close, connect};
use stock_stats::store::Store;
use tx_runtime::{Db, TicketLocks};

/// The connections of each process that runs batches.
const CONNECTIONS: u32 = 4;

/// What is done with the tables, whichever database they are in.
pub(crate) trait Task {
    async fn run<DB: Store>(&self, place: &Place<DB>) -> Result<ExitCode, Failure>;
}

/// A database with the example's tables and those of tickets.
pub(crate) struct Place<DB: Store> {
    options: Options<DB>,
    pub(crate) db: Db<DB>,
}

type Options<DB> = <<DB as Driver>::Connection as Connection>::Options;

impl<DB: Store> Place<DB> {
    /// Where it is, for another process.
    pub(crate) fn url(&self) -> String {
        self.options.to_url_lossy().into()
    }

    /// A pool as another process would have it.
    pub(crate) async fn elsewhere(&self) -> Result<Db<DB>, Failure> {
        connect::<DB>(self.options.clone(), CONNECTIONS).await
    }
}

/// Runs `task` on the database at `url`; without one, on a SQLite file that goes at the end.
///
/// # Errors
///
/// If the database cannot be opened, or the task fails.
pub(crate) async fn on_database<T: Task>(url: Option<&str>, task: &T) -> Result<ExitCode, Failure> {
    match &Database::of(url)? {
        Database::Sqlite(file) => on::<Sqlite, T>(file.options(), task).await,
        Database::Postgres(options) => on::<Postgres, T>(options.clone(), task).await,
        Database::MySql(options) => on::<MySql, T>(options.clone(), task).await,
    }
}

async fn on<DB: Store, T: Task>(options: Options<DB>, task: &T) -> Result<ExitCode, Failure> {
    let db = connect::<DB>(options.clone(), CONNECTIONS).await?;
    let place = Place { options, db };
    let outcome = match created(&place.db).await {
        Ok(()) => task.run(&place).await,
        Err(error) => Err(format!("the tables cannot be created: {error}").into()),
    };
    close(place.db).await;
    outcome
}

async fn created<DB: Store>(db: &Db<DB>) -> Result<(), Failure> {
    DB::create_tables(db.pool()).await?;
    TicketLocks::new(db).create_tables().await?;
    Ok(())
}
