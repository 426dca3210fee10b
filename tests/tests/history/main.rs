//! Recorded changes: what triggers write down, whose changes they are, what is found to be wrong,
//! and what is read back.

mod faults;
mod merging;
mod reading;
mod scopes;
mod stage;
mod tables;
mod writers;
