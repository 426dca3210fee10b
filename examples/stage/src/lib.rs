//! What the example programs share, so that each shows nothing but its incident.
//!
//! | module | its one idea |
//! |---|---|
//! | `database` | the database that `--database-url` names, opened and closed |
//! | `arguments` | values on the command line |
//! | `table` | text in columns, a line as soon as it is known |
//! | `progress` | how far a run has come, for whoever watches |
//! | `server`, `client` | a service over HTTP, and a client of one, with the feature `http` |
//! | `stopping` | how a program is told to stop |
//! | `ending` | how a program ends |
#![forbid(unsafe_code)]

pub mod arguments;
#[cfg(feature = "http")]
pub mod client;
mod database;
mod ending;
mod progress;
#[cfg(feature = "http")]
pub mod server;
mod stopping;
mod table;

pub use database::{Database, SqliteFile, close, connect, make};
pub use ending::{Failure, ended};
pub use indicatif::{MultiProgress, ProgressBar};
pub use progress::bar;
pub use stopping::told_to_stop;
pub use table::{Column, Table};
