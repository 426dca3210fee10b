//! The example as its users meet it: over HTTP, as a program, on every database there is.

mod program;
mod routes;
mod shutdown;
mod stage;
mod storm;
