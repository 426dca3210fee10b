//! The example as its users meet it: over HTTP, as a program, on every database there is.

mod incident;
mod program;
mod routes;
mod stage;
