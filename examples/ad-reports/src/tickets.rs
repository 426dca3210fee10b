//! The locks of the accounts: tickets, which everybody can see.

use std::time::Duration;

use tx_runtime::{Db, Dialect, Lock, TicketLocks};

use crate::session::LIMIT;

/// Longer than all who are before it in the line take together.
const WAIT: Duration = Duration::from_mins(2);

/// A service whose imports take minutes can leave it at a second.
const POLL: Duration = Duration::from_millis(50);

/// The provider of the accounts' locks, in the database of `db`.
#[must_use]
pub fn of<DB: Dialect>(db: &Db<DB>) -> TicketLocks<DB> {
    TicketLocks::new(db).poll(POLL).deadline(LIMIT)
}

/// The name of an account's lock.
#[must_use]
pub fn key(account: i64) -> String {
    format!("ad-account:{account}")
}

/// An account's lock, as whoever wants its API waits for it.
pub(crate) fn lock(account: i64) -> Lock {
    Lock::key(key(account)).wait(WAIT)
}
