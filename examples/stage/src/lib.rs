//! What the example programs share, so that each shows nothing but its incident.
//!
//! | module | its one idea |
//! |---|---|
//! | `database` | the database that `--database-url` names, opened and closed |
//! | `arguments` | values on the command line |
//! | `table` | text in columns, a line as soon as it is known |
//! | `progress` | how far a run has come, for whoever watches |
//! | `ending` | how a program ends |
#![forbid(unsafe_code)]

pub mod arguments;
mod database;
mod ending;
mod progress;
mod table;

pub use database::{Database, SqliteFile, close, connect};
pub use ending::{Failure, ended};
pub use indicatif::{MultiProgress, ProgressBar};
pub use progress::bar;
pub use table::{Column, Table};
