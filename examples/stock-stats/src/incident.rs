//! THE INCIDENT, kept on purpose: never copy this file.
//!
//! Each batch is right by itself, and its log says so. But nothing keeps them apart, and the
//! log is written by itself: it tells that a batch came to its end, not that its work is there.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use sqlx::{Connection as _, Pool};

use crate::error::Error;
use crate::pace::{Pace, Step};
use crate::position::worths;
use crate::store::Store;

/// The batches as they were before they were mended.
#[derive(Debug)]
pub struct Incident<DB: Store> {
    pool: Pool<DB>,
}

/// What a refresh has read, and is about to write.
struct Refreshed {
    day: NaiveDate,
    worths: BTreeMap<i64, i64>,
}

impl<DB: Store> Incident<DB> {
    /// The faulty batches on the tables that `pool` leads to.
    #[must_use]
    pub fn new(pool: Pool<DB>) -> Self {
        Self { pool }
    }

    /// Closes the current day, and opens `day` with a row for every user.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    pub async fn open_day(&self, day: NaiveDate) -> Result<(), Error> {
        let outcome = self.close_and_open(day).await;
        self.logged(&format!("open day {day}"), outcome).await
    }

    async fn close_and_open(&self, day: NaiveDate) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        let closing = DB::current_day(DB::on(&mut tx)).await?;
        if let Some(closing) = closing {
            DB::close(DB::on(&mut tx), closing).await?;
        }
        DB::open(DB::on(&mut tx), day, closing).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Reads which day it is in one step, and writes in the next: by then it may be another.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    pub async fn refresh(&self, pace: &impl Pace) -> Result<(), Error> {
        let outcome = self.read_then_write(pace).await;
        self.logged("refresh", outcome).await
    }

    async fn read_then_write(&self, pace: &impl Pace) -> Result<(), Error> {
        pace.at(Step::Begun).await;
        let mut connection = self.pool.acquire().await?;
        let refreshed = read::<DB>(&mut connection).await?;
        pace.at(Step::Read).await;
        let mut tx = connection.begin().await?;
        write::<DB>(&mut tx, &refreshed, pace).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The same in one transaction, which looks safe: no server minds that a row which was
    /// read as open is closed when it is written. SQLite does, and fails the refresh.
    ///
    /// # Errors
    ///
    /// Whatever failed.
    pub async fn refresh_in_one_transaction(&self, pace: &impl Pace) -> Result<(), Error> {
        let outcome = self.read_and_write(pace).await;
        self.logged("refresh", outcome).await
    }

    async fn read_and_write(&self, pace: &impl Pace) -> Result<(), Error> {
        pace.at(Step::Begun).await;
        let mut tx = self.pool.begin().await?;
        let refreshed = read::<DB>(&mut tx).await?;
        pace.at(Step::Read).await;
        write::<DB>(&mut tx, &refreshed, pace).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Writes the batch's log, in a transaction of its own.
    async fn logged(&self, batch: &str, outcome: Result<(), Error>) -> Result<(), Error> {
        let error = outcome.as_ref().err().map(Error::to_string);
        DB::write_log(&self.pool, batch, error.as_deref()).await?;
        outcome
    }
}

async fn read<DB: Store>(connection: &mut DB::Connection) -> Result<Refreshed, Error> {
    let day = DB::current_day(DB::on(&mut *connection)).await?;
    let positions = DB::positions(DB::on(connection)).await?;
    Ok(Refreshed {
        day: day.ok_or(Error::NoDay)?,
        worths: worths(positions),
    })
}

async fn write<DB: Store>(
    connection: &mut DB::Connection,
    Refreshed { day, worths }: &Refreshed,
    pace: &impl Pace,
) -> Result<(), Error> {
    for (rows, (&user, &worth)) in worths.iter().enumerate() {
        pace.at(Step::Written {
            rows,
            of: worths.len(),
        })
        .await;
        DB::record(DB::on(&mut *connection), *day, user, worth).await?;
    }
    Ok(())
}
