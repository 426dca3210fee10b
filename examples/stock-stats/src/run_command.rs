//! The command `run`: a scheduler drives both batches, until it is stopped.

use std::process::ExitCode;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use croner::Cron;
use stage::{Column, Failure, Table, told_to_stop};
use stock_stats::batches::{Batches, GROUP};
use stock_stats::error::Error;
use stock_stats::feed::Feed;
use stock_stats::market;
use stock_stats::pace::Unpaced;
use stock_stats::schedule::{Clock, FEED, OPEN_DAY, REFRESH, at_each};
use stock_stats::store::Store;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tx_runtime::TicketLocks;

use crate::arguments::Run;
use crate::database::{Place, Task};
use crate::ticket_table;

/// How many tickets are shown in the end.
const SHOWN_TICKETS: u32 = 10;

/// How long batches may take to end when the program is stopped.
const GRACE: Duration = Duration::from_secs(10);

/// A batch that has ended: when it was due, which it was and what came of it.
type Ended = (DateTime<Utc>, &'static str, Result<(), Error>);

impl Task for Run {
    async fn run<DB: Store>(&self, place: &Place<DB>) -> Result<ExitCode, Failure> {
        let tickets = TicketLocks::new(&place.db);
        let batches = Arc::new(Batches::new(place.db.clone(), tickets.clone()));
        let clock = self.begin(place, &batches).await?;
        println!(
            "open day at `{OPEN_DAY}`, refresh at `{REFRESH}`, both UTC; prices by the seed {}; \
             Ctrl-C stops\n",
            self.seed
        );
        let (ended, endings) = unbounded_channel();
        let telling = tokio::spawn(tell(endings));
        tokio::select! {
            outcome = self.schedule(place, &batches, &clock, ended) => outcome?,
            stopped = told_to_stop() => stopped?,
        }
        // The channel is closed when the last batch has ended.
        let told = timeout(GRACE, telling).await;
        told.map_err(|_| format!("a batch goes on for more than {GRACE:?}"))??;
        let mut last = tickets.log(GROUP, SHOWN_TICKETS).await?;
        last.reverse();
        println!("\n{}", ticket_table::table(&last));
        Ok(ExitCode::SUCCESS)
    }
}

impl Run {
    /// Fills the tables if no day is open, and starts the clock on the day that is open.
    async fn begin<DB: Store>(
        &self,
        place: &Place<DB>,
        batches: &Batches<DB>,
    ) -> Result<Clock, Failure> {
        let pool = place.db.pool();
        let mut connection = pool.acquire().await?;
        let open = DB::current_day(DB::on(&mut connection)).await?;
        drop(connection);
        let today = Clock::real().now().date_naive();
        if open.is_none() {
            // A start may have ended half-way.
            DB::empty(pool).await?;
            market::fill(pool, self.users, self.seed).await?;
            batches.open_day(today).await?;
        }
        Ok(match self.speed {
            None => Clock::real(),
            Some(speed) => Clock::fast(open.unwrap_or(today), speed),
        })
    }

    /// Starts each batch when it is due, whatever else is running.
    async fn schedule<DB: Store>(
        &self,
        place: &Place<DB>,
        batches: &Arc<Batches<DB>>,
        clock: &Clock,
        ended: UnboundedSender<Ended>,
    ) -> Result<(), Failure> {
        let mut feed = Feed::new(self.seed);
        let [open_day, refresh, prices] = [OPEN_DAY, REFRESH, FEED].map(Cron::from_str);
        let (open_day, refresh, prices) = (open_day?, refresh?, prices?);
        let openings = at_each(&open_day, clock, async |due| {
            let (batches, ended) = (Arc::clone(batches), ended.clone());
            tokio::spawn(async move {
                let outcome = batches.open_day(due.date_naive()).await;
                ended.send((due, "open day", outcome)).ok();
            });
        });
        let refreshes = at_each(&refresh, clock, async |due| {
            let (batches, ended) = (Arc::clone(batches), ended.clone());
            tokio::spawn(async move {
                let outcome = batches.refresh(&Unpaced).await;
                ended.send((due, "refresh", outcome)).ok();
            });
        });
        let ticks = at_each(&prices, clock, async |due| {
            if let Err(error) = feed.tick(place.db.pool()).await {
                ended.send((due, "feed", Err(error.into()))).ok();
            }
        });
        tokio::try_join!(openings, refreshes, ticks)?;
        Ok(())
    }
}

/// Prints a line for each batch that has ended.
async fn tell(mut endings: UnboundedReceiver<Ended>) {
    let table = Table::new([
        Column::words("due").at_least("2026-01-01 00:00".len()),
        Column::words("batch").at_least("open day".len()),
        Column::words("outcome"),
    ]);
    println!("{}", table.heading());
    while let Some((due, batch, outcome)) = endings.recv().await {
        let outcome = outcome.map_or_else(|error| error.to_string(), |()| "done".to_owned());
        let due = due.format("%Y-%m-%d %H:%M").to_string();
        println!("{}", table.row([due, batch.to_owned(), outcome]));
    }
}
