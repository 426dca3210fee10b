//! Two batches write one table of statistics, and a closed day stays as it was closed.
//!
//! At 00:00 one batch closes the day and opens the next; every five minutes another
//! recalculates the rows of the current day. At midnight both are due.
//!
//! | module | its one idea |
//! |---|---|
//! | `batches` | **start here**: the two batches, with tx-runtime, as one group |
//! | `incident` | the same with plain sqlx and a log of its own, wrong in two ways |
//! | `variant` | which of the three is in use |
//! | `store`, `position`, `error` | the tables, what a user holds, what can go wrong |
//! | `market`, `feed` | whose stocks there are, and how their prices move |
//! | `pace` | where a refresh is, for whoever wants to see or stop it there |
//! | `schedule` | cron expressions, and a clock that may be fast |
//! | `trial`, `report` | many midnights with one variant, and what they left in the tables |
#![forbid(unsafe_code)]

pub mod batches;
pub mod error;
pub mod feed;
pub mod incident;
pub mod market;
pub mod pace;
mod position;
pub mod report;
pub mod schedule;
pub mod store;
pub mod trial;
pub mod variant;
