//! `cargo run -p product-admin` leaves a job in every way there is, written in two ways, on a
//! SQLite file that is removed at the end; `-- --help` says what else there is.

mod arguments;
mod trial_command;

use std::process::ExitCode;

use sqlx::{MySql, Postgres, Sqlite};
use stage::{Database, Failure, ended};

use crate::arguments::{HELP, Trials};

#[tokio::main]
async fn main() -> ExitCode {
    ended(match arguments::parse() {
        Ok(None) => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Some(trials)) => on_database(&trials).await,
        Err(error) => Err(format!("{error}; --help says what there is").into()),
    })
}

async fn on_database(trials: &Trials) -> Result<ExitCode, Failure> {
    match &Database::of(trials.url.as_deref())? {
        Database::Sqlite(file) => trial_command::run::<Sqlite>(&file.options(), trials).await,
        Database::Postgres(options) => trial_command::run::<Postgres>(options, trials).await,
        Database::MySql(options) => trial_command::run::<MySql>(options, trials).await,
    }
}
