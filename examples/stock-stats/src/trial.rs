//! One variant put to the test: many days in little time, at the end of each both batches.

use std::time::Duration;

use chrono::{Days, NaiveDate};
use fastrand::Rng;
use stage::ProgressBar;
use tokio::time::sleep;

use crate::error::Error;
use crate::feed::Feed;
use crate::market;
use crate::pace::Unpaced;
use crate::report::Report;
use crate::store::Store;
use crate::variant::Server;

/// No scheduler is on time to the millisecond.
const LATEST: Duration = Duration::from_millis(3);

/// How large a trial is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// How many days are closed.
    pub days: u32,
    /// How many refreshes a day has: the last is due when the day is closed.
    pub refreshes: u32,
    /// How many users have statistics.
    pub users: u32,
}

/// Runs the two batches of two `servers` on one database for so many days, on tables that are
/// empty before and after.
///
/// # Errors
///
/// If the tables cannot be filled or read. Batches that fail are part of the report.
pub async fn run<DB: Store>(
    servers: &[Server<DB>; 2],
    size: Size,
    seed: u64,
    progress: &ProgressBar,
) -> Result<Report, Error> {
    let [opening, refreshing] = servers;
    let pool = opening.db().pool();
    let before = opening.last_ticket().await?;
    DB::empty(pool).await?;
    market::fill(pool, size.users, seed).await?;
    let mut feed = Feed::new(seed);
    let mut dice = Rng::with_seed(seed);

    opening.open_day(FIRST).await?;
    for day in FIRST.iter_days().take(size.days as usize) {
        for _ in 1..size.refreshes {
            feed.tick(pool).await?;
            // Whether it has failed is in the log.
            refreshing.refresh(&Unpaced).await.ok();
            progress.inc(1);
        }
        feed.tick(pool).await?;
        let (late_opening, late_refresh) = (lateness(&mut dice), lateness(&mut dice));
        let midnight = tokio::join!(
            async {
                sleep(late_opening).await;
                opening.open_day(day + Days::new(1)).await
            },
            async {
                sleep(late_refresh).await;
                refreshing.refresh(&Unpaced).await
            },
        );
        drop(midnight);
        progress.inc(1);
    }
    let runs = opening.runs(before).await?;
    let changed = DB::changed_after_close(pool).await?;
    DB::empty(pool).await?;
    Ok(Report::new(size.days, &runs, &changed))
}

/// The first day of every trial.
const FIRST: NaiveDate = NaiveDate::from_ymd_opt(2026, 1, 1).expect("a day");

fn lateness(dice: &mut Rng) -> Duration {
    LATEST.mul_f64(dice.f64())
}
