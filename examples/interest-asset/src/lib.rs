//! A user double-taps `add to favourites`, and exactly one row per account comes out.
//!
//! An HTTP service on SQLite, PostgreSQL or MariaDB, and a storm of double taps on it.
//!
//! | module | its one idea |
//! |---|---|
//! | `service` | **start here**: the service, with tx-runtime |
//! | `incident` | the same with plain sqlx, wrong in the two ways it was wrong |
//! | `variant` | which of the four is in use |
//! | `instance` | what one of several services has to itself: connections and locks |
//! | `row`, `store`, `error` | an account's row, the statements on it, what can go wrong |
//! | `http`, `problem`, `id` | the service's routes, its errors and its input |
//! | `client`, `storm` | one user, many users |
//! | `trial`, `report` | a storm on one variant, and what it left in the tables |
#![forbid(unsafe_code)]

pub mod client;
pub mod error;
pub mod http;
mod id;
pub mod incident;
pub mod instance;
mod problem;
pub mod report;
pub mod row;
pub mod service;
pub mod store;
pub mod storm;
pub mod trial;
pub mod variant;
