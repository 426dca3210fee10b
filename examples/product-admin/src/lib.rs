//! A job returns early, and no connection goes back to the pool inside its transaction.
//!
//! The job asks a supplier for a product's price, in the middle of a transaction. Sales that
//! come after it show what it left behind in the pool.
//!
//! | module | its one idea |
//! |---|---|
//! | `service` | **start here**: the job, with tx-runtime |
//! | `incident` | the same with a BEGIN by hand, as it was |
//! | `variant` | which of the two is in use |
//! | `way` | the ways to leave the job |
//! | `supplier`, `error` | who is asked for prices, what can go wrong |
//! | `store` | the statements on the table |
//! | `trial`, `report` | a job left in one way, and what every connection shows after it |
#![forbid(unsafe_code)]

pub mod error;
pub mod incident;
pub mod report;
pub mod service;
pub mod store;
pub mod supplier;
pub mod trial;
pub mod variant;
pub mod way;
