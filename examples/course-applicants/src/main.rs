//! `cargo run -p course-applicants` changes applicants with a history that was made by hand, and
//! with the generated one, on a SQLite file that is removed at the end; `-- --help` says what else
//! there is.

mod arguments;
mod history_command;
mod serve_command;
mod trial_command;

use std::process::ExitCode;

use course_applicants::store::Store;
use sqlx::{Connection, Database as Driver, MySql, Postgres, Sqlite};
use stage::{Database, Failure};

use crate::arguments::{Arguments, Command, HELP};

/// The connections of the service.
const POOL: u32 = 4;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match arguments::parse() {
        Ok(arguments) => run(arguments).await,
        Err(error) => Err(format!("{error}; --help says what there is").into()),
    };
    stage::ended(outcome)
}

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let command = arguments.command;
    if let Command::Help = command {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    match Database::of(arguments.url.as_deref())? {
        Database::Sqlite(file) => {
            // Without it, what `INSERT OR REPLACE` removes is removed without a record.
            let options = file.options().pragma("recursive_triggers", "ON");
            on::<Sqlite>(options, command).await
        }
        Database::Postgres(options) => on::<Postgres>(options, command).await,
        Database::MySql(options) => on::<MySql>(options, command).await,
    }
}

async fn on<DB: Store>(
    options: <<DB as Driver>::Connection as Connection>::Options,
    command: Command,
) -> Result<ExitCode, Failure> {
    let db = stage::connect::<DB>(options, POOL).await?;
    let outcome = match command {
        Command::Help => Ok(ExitCode::SUCCESS),
        Command::Trial(trial) => trial_command::run(&db, &trial).await,
        Command::Serve(serve) => serve_command::run(&db, &serve).await,
        Command::History(id) => history_command::run(&db, id).await,
    };
    stage::close(db).await;
    outcome
}
