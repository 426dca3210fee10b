//! Locks as tickets in a table: what each state says is true, at every moment that somebody looks.

mod attribute;
mod crowd;
mod guarded;
mod heartbeat;
mod log;
mod lost;
mod order;
mod setup;
mod states;
mod stress;
mod warned;
