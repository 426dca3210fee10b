//! The harness of the test suite: real databases, a wire one can read and cut, and the
//! invariant that every test ends with.
//!
//! A test takes a [`Bed`] (a database of its own, a `Db` over a pool, a control connection
//! outside of it), does its worst, and ends with [`Bed::assert_clean`]. [`case!`] stamps that
//! out once per database. What the server was really sent is read from a [`Proxy`].
//!
//! Servers are found by the module [`server`], and a [`RedisServer`] is started for each test
//! that wants one: where there is none, its tests return early with one line on stderr, and
//! under `CI` they fail.
#![forbid(unsafe_code)]

mod backend;
mod bed;
mod conformance;
mod dice;
mod each_database;
mod patience;
mod poll;
mod private_server;
mod program;
mod proxy;
mod redis;
mod scratch;
pub mod server;

pub use backend::{Answer, Backend, ConnectOptions};
pub use bed::Bed;
pub use conformance::Case;
pub use dice::{Dice, wish};
pub use patience::{acquired, all_acquired};
pub use poll::{pending_once, poll_n};
pub use private_server::PrivateServer;
pub use program::{Program, Running, figures};
pub use proxy::{Frame, Jitter, Lay, Protocol, Proxy, Shape, Side, Strike, Trap};
pub use redis::RedisServer;
pub use scratch::Scratch;

/// For users of [`case!`] and [`on_each_database!`], whose expansions need no import.
#[doc(hidden)]
pub mod __private {
    pub use crate::conformance::{run, run_proxied};
    pub use crate::each_database::on_two_workers;
    pub use sqlx::{MySql, Postgres, Sqlite};
    pub use tokio;
}
