//! Who changed what about the applicants of courses, and why; the history of it must not be in the
//! way of the changes themselves.
//!
//! An HTTP service on SQLite, PostgreSQL or MariaDB, with a history that was made by hand and wrong,
//! or that is generated.
//!
//! | module | its one idea |
//! |---|---|
//! | `service` | **start here**: the service; each change says whose it is and why |
//! | `tables` | the history generated or, as in the incident, by hand; the check at start |
//! | `applicant`, `line`, `store`, `error` | an applicant, a line of text, the statements, what can go wrong |
//! | `http` | the service's routes |
//! | `story` | an applicant's history in words |
//! | `clerk`, `trial` | one client, and four of them, who look whether their changes are stored |
#![forbid(unsafe_code)]

pub mod applicant;
pub mod clerk;
pub mod error;
pub mod http;
pub mod line;
pub mod service;
pub mod store;
pub mod story;
pub mod tables;
pub mod trial;
