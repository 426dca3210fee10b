//! Two imports share an account of an advertising API, and neither loses a report.
//!
//! The API allows one report session per account: create reports day by day, wait for them,
//! download them, delete *all* of the account. Users import by hand, a batch imports every
//! night, in two processes.
//!
//! | module | its one idea |
//! |---|---|
//! | `service` | **start here**: an account whose API client is behind its lock |
//! | `incident` | the same with the status column that was to keep imports apart |
//! | `variant` | which of the two is in use |
//! | `run`, `plan` | one import; who imports what in a trial |
//! | `client`, `session` | requests to the API; the steps of one report session |
//! | `api` | the API, and what it sees of sessions that get in each other's way |
//! | `store`, `error` | the statements on the tables, what can go wrong |
//! | `tickets` | the locks of the accounts, which everybody can see |
//! | `outcome` | what is in the tables, held against what the runs have said |
#![forbid(unsafe_code)]

pub mod api;
pub mod client;
pub mod error;
pub mod incident;
pub mod outcome;
pub mod plan;
pub mod run;
pub mod service;
pub mod session;
pub mod store;
pub mod tickets;
pub mod variant;
