//! The batches as they should be: one group, of which one at a time runs.
//!
//! The key of the lock is the name of the group. Who comes second waits, also in another
//! process, and its row in `tx_ticket` says so; it reads which day it is when it is its turn.
//! A row says DONE if, and only if, the work is stored: both commit in one transaction.

use chrono::NaiveDate;
use tx_runtime::{Db, TicketLocks, transactional};

use crate::error::Error;
use crate::pace::{Pace, Step};
use crate::position::worths;
use crate::store::Store;

/// The key under which the batches have their tickets.
pub const GROUP: &str = "batch-group:stats";

/// The batches on the table of statistics.
#[derive(Debug)]
pub struct Batches<DB: Store> {
    db: Db<DB>,
    tickets: TicketLocks<DB>,
}

impl<DB: Store> Batches<DB> {
    /// Batches on the tables of `db`, with tickets in the same database.
    #[must_use]
    pub fn new(db: Db<DB>, tickets: TicketLocks<DB>) -> Self {
        Self { db, tickets }
    }

    /// Closes the current day, and opens `day` with a row for every user.
    ///
    /// # Errors
    ///
    /// Whatever failed; nothing is stored then.
    #[transactional(lock(key = "batch-group:stats", on = self.tickets, label = "open day {day}", wait = "10m"))]
    pub async fn open_day(&self, day: NaiveDate) -> Result<(), Error> {
        let closing = DB::current_day(&self.db).await?;
        if let Some(closing) = closing {
            DB::close(&self.db, closing).await?;
        }
        DB::open(&self.db, day, closing).await?;
        Ok(())
    }

    /// Recalculates the rows of the current day from what the users hold and what it costs.
    ///
    /// # Errors
    ///
    /// Whatever failed; nothing is stored then.
    #[transactional(lock(key = "batch-group:stats", on = self.tickets, label = "refresh", wait = "10m"))]
    pub async fn refresh(&self, pace: &impl Pace) -> Result<(), Error> {
        pace.at(Step::Begun).await;
        let day = DB::current_day(&self.db).await?.ok_or(Error::NoDay)?;
        let worths = worths(DB::positions(&self.db).await?);
        pace.at(Step::Read).await;
        for (rows, (&user, &worth)) in worths.iter().enumerate() {
            pace.at(Step::Written {
                rows,
                of: worths.len(),
            })
            .await;
            DB::record(&self.db, day, user, worth).await?;
        }
        Ok(())
    }
}
