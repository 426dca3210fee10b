//! The program `tx-history` as its users meet it: what it writes, what it finds, what it refuses.

mod faults;
mod migrations;
mod program;
mod refusals;
