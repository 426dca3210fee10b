//! The catalogue's cases, each under its ID, on every database it applies to.
//!
//! `cargo test --test conformance -- p_05` runs one case on all databases,
//! `cargo test --test conformance -- p_ postgres` is not a filter cargo knows; name the
//! database last: `p_05::postgres`.

mod after_all;
mod attribute;
mod cancellation;
mod connections;
mod databases;
mod failures;
mod hooks;
mod isolation;
mod lazy;
mod lease;
mod locks;
mod observability;
mod propagation;
mod read_only;
mod retry;
mod rollback;
mod rollback_only;
mod rules;
mod savepoints;
mod suspension;
mod timeouts;
mod values;
