//! Locks in Redis, on Redis servers of the tests' own, which they pause, kill and flush.

mod by_hand;
mod lease;
mod lost;
mod outage;
mod setup;
mod storm;
mod unasked;
