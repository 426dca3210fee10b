//! `cargo run -p stock-stats` runs two batches over many midnights, written in three ways, on a
//! SQLite file that is removed at the end; `-- --help` says what else there is.

mod arguments;
mod crash_command;
mod database;
mod run_command;
mod status_command;
mod ticket_table;
mod trial_command;
mod victim_command;

use std::process::ExitCode;

use stage::{Failure, ended};

use crate::arguments::{Command, HELP};
use crate::database::on_database;

#[tokio::main]
async fn main() -> ExitCode {
    ended(match arguments::parse() {
        Ok((url, command)) => carried_out(url.as_deref(), command).await,
        Err(error) => Err(format!("{error}; --help says what there is").into()),
    })
}

async fn carried_out(url: Option<&str>, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Help => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Command::Trial(trial) => on_database(url, &trial).await,
        Command::Run(run) => on_database(url, &run).await,
        Command::Status(status) => on_database(url, &status).await,
        Command::Crash(crash) => on_database(url, &crash).await,
        Command::Victim(victim) => on_database(url, &victim).await,
    }
}
