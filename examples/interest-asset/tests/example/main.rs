//! The example as its users meet it: over HTTP, as a program, on every database there is.

mod program;
#[cfg(feature = "redis")]
mod redis;
mod routes;
mod scene;
mod shutdown;
mod storm;
