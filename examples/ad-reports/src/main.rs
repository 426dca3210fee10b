//! `cargo run -p ad-reports` imports reports of an advertising API in two processes, written in
//! two ways, on a SQLite file that is removed at the end; `-- --help` says what else there is.

mod arguments;
mod bars;
mod batch;
mod line;
mod nightly_command;
mod status_command;
mod trial_command;

use std::process::ExitCode;

use ad_reports::store::Store;
use ad_reports::tickets;
use sqlx::{MySql, Postgres, Sqlite};
use stage::{Database, Failure};
use tx_runtime::Db;

use crate::arguments::{Arguments, Command, HELP};

/// Connections of each process. Imports that wait for their account need none.
const POOL: u32 = 4;

#[tokio::main]
async fn main() -> ExitCode {
    stage::ended(match arguments::parse() {
        Ok(None) => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Some(arguments)) => on_database(&arguments).await,
        Err(error) => Err(format!("{error}; --help says what there is").into()),
    })
}

async fn on_database(Arguments { url, command }: &Arguments) -> Result<ExitCode, Failure> {
    let database = Database::of(url.as_deref())?;
    let url = url.clone().unwrap_or_default();
    match &database {
        Database::Sqlite(file) => {
            let url = format!("sqlite:{}", file.options().get_filename().display());
            let db = stage::connect::<Sqlite>(file.options(), POOL).await?;
            carry_out(command, db, &url).await
        }
        Database::Postgres(options) => {
            let db = stage::connect::<Postgres>(options.clone(), POOL).await?;
            carry_out(command, db, &url).await
        }
        Database::MySql(options) => {
            let db = stage::connect::<MySql>(options.clone(), POOL).await?;
            carry_out(command, db, &url).await
        }
    }
}

/// `url` leads other processes to the database.
async fn carry_out<DB: Store>(
    command: &Command,
    db: Db<DB>,
    url: &str,
) -> Result<ExitCode, Failure> {
    DB::create_tables(db.pool()).await?;
    tickets::of(&db).create_tables().await?;
    let outcome = match command {
        Command::Trial(trial) => trial.run(&db, url).await,
        Command::Nightly(nightly) => nightly.run(&db).await,
        Command::Status(status) => status.run(&db).await,
    };
    stage::close(db).await;
    outcome
}
