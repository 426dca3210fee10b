//! The ways in which the batches can be written, two of them wrong.

use chrono::NaiveDate;
use tx_runtime::{Db, TicketLocks, TicketState};

use crate::batches::{Batches, GROUP};
use crate::error::Error;
use crate::incident::Incident;
use crate::pace::Pace;
use crate::store::Store;

/// How the batches are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Variant {
    /// Wrong, the incident: a refresh reads which day it is, and then writes to that day.
    Overlapping,
    /// Wrong: it does both in one transaction.
    InOneTransaction,
    /// The batches are one group, and never overlap.
    Grouped,
}

impl Variant {
    /// Whether it must do no harm.
    #[must_use]
    pub fn is_right(self) -> bool {
        self == Self::Grouped
    }
}

/// A process that runs batches, written in one of the ways.
#[derive(Debug)]
pub struct Server<DB: Store> {
    variant: Variant,
    db: Db<DB>,
    tickets: TicketLocks<DB>,
    batches: Batches<DB>,
    incident: Incident<DB>,
}

/// What the log says about a run of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// `refresh`, or `open day` and the day.
    pub batch: String,
    /// Why it has failed; `None` if the log says that it has succeeded.
    pub failure: Option<String>,
}

impl<DB: Store> Server<DB> {
    /// A process with the pool of `db`, and `tickets` in the same database.
    #[must_use]
    pub fn new(variant: Variant, db: Db<DB>, tickets: TicketLocks<DB>) -> Self {
        Self {
            variant,
            batches: Batches::new(db.clone(), tickets.clone()),
            incident: Incident::new(db.pool().clone()),
            tickets,
            db,
        }
    }

    /// Its connections.
    #[must_use]
    pub fn db(&self) -> &Db<DB> {
        &self.db
    }

    /// Closes the current day and opens `day`.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    pub async fn open_day(&self, day: NaiveDate) -> Result<(), Error> {
        match self.variant {
            Variant::Overlapping | Variant::InOneTransaction => self.incident.open_day(day).await,
            Variant::Grouped => self.batches.open_day(day).await,
        }
    }

    /// Recalculates the current day.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    pub async fn refresh(&self, pace: &impl Pace) -> Result<(), Error> {
        match self.variant {
            Variant::Overlapping => self.incident.refresh(pace).await,
            Variant::InOneTransaction => self.incident.refresh_in_one_transaction(pace).await,
            Variant::Grouped => self.batches.refresh(pace).await,
        }
    }

    /// The number of the last ticket so far; 0 if there is none.
    ///
    /// # Errors
    ///
    /// If the tickets cannot be read.
    pub async fn last_ticket(&self) -> Result<i64, Error> {
        let last = self.tickets.log(GROUP, 1).await?;
        Ok(last.first().map_or(0, |ticket| ticket.id))
    }

    /// What the log says about all runs, of tickets about those after the number `after`.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub async fn runs(&self, after: i64) -> Result<Vec<Run>, Error> {
        if self.variant == Variant::Grouped {
            let tickets = self.tickets.log(GROUP, u32::MAX).await?;
            let new = tickets.into_iter().filter(|ticket| ticket.id > after);
            let run = new.map(|ticket| Run {
                failure: (ticket.state != TicketState::Done)
                    .then(|| ticket.error.unwrap_or_else(|| ticket.state.to_string())),
                batch: ticket.label,
            });
            return Ok(run.collect());
        }
        let lines = DB::read_log(self.db.pool()).await?;
        let run = lines.into_iter().map(|line| Run {
            batch: line.batch,
            failure: (line.state != "SUCCEEDED").then(|| line.error.unwrap_or(line.state)),
        });
        Ok(run.collect())
    }
}
