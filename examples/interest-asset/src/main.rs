//! `cargo run -p interest-asset` double-taps the service, written in four ways, on a SQLite
//! file that is removed at the end; `-- --help` says what else there is.

mod arguments;
mod instances;
mod picture;
mod redis;
mod serve_command;
mod storm_command;

use std::process::ExitCode;

use stage::ended;

use crate::arguments::{Command, HELP};
use crate::instances::on_instances;

#[tokio::main]
async fn main() -> ExitCode {
    ended(match arguments::parse() {
        Ok(Command::Help) => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Command::Storm(storm)) => on_instances(&storm.database, &storm).await,
        Ok(Command::Serve(serve)) => on_instances(&serve.database, &serve).await,
        Err(error) => Err(format!("{error}; --help says what there is").into()),
    })
}
