//! The example as its users meet it: every way out on every database, and the program.

mod program;
mod ways;
