//! `cargo run -p interest-asset` double-taps the service, written in four ways, on a SQLite
//! file that is removed at the end; `-- --help` says what else there is.

mod arguments;
mod database;
mod redis;
mod serve_command;
mod storm_command;
mod table;

use std::process::ExitCode;

use crate::arguments::{Command, HELP};
use crate::database::on_database;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match arguments::parse() {
        Ok(Command::Help) => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Command::Storm(storm)) => on_database(&storm.database, &storm).await,
        Ok(Command::Serve(serve)) => on_database(&serve.database, &serve).await,
        Err(error) => Err(format!("{error}; --help says what there is").into()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
