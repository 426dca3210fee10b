//! Group B: what can be seen of transactions from outside.

mod listeners;
mod recorder;
mod spans;
