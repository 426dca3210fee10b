//! How a program ends.

use std::process::ExitCode;

/// What a program cannot go on from, in words for whoever started it.
pub type Failure = Box<dyn std::error::Error>;

/// Prints the failure, if it is one, and gives the code to end with.
#[must_use]
pub fn ended(outcome: Result<ExitCode, Failure>) -> ExitCode {
    outcome.unwrap_or_else(|failure| {
        eprintln!("error: {failure}");
        ExitCode::FAILURE
    })
}
