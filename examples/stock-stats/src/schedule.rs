//! When batches are due: cron expressions, and a clock that may be fast.
//!
//! The expressions are croner's. The loop around them is our own, since a scheduler would know
//! the time of day only, and the midnight that matters here comes once a day.

use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use croner::Cron;
use croner::errors::CronError;

/// When the next day is opened.
pub const OPEN_DAY: &str = "0 0 * * *";

/// When the current day is recalculated.
pub const REFRESH: &str = "*/5 * * * *";

/// When prices move.
pub const FEED: &str = "* * * * *";

/// Where a fast clock begins.
const SHORTLY_BEFORE_MIDNIGHT: NaiveTime = NaiveTime::from_hms_opt(23, 50, 0).expect("a time");

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: DateTime<Utc>,
    started: Instant,
    speed: u32,
}

impl Clock {
    /// The real time.
    #[must_use]
    pub fn real() -> Self {
        Self::beginning(SystemTime::now().into(), 1)
    }

    /// A clock that goes `speed` times as fast, from ten minutes before the end of `day` on.
    #[must_use]
    pub fn fast(day: NaiveDate, speed: u32) -> Self {
        Self::beginning(day.and_time(SHORTLY_BEFORE_MIDNIGHT).and_utc(), speed)
    }

    fn beginning(start: DateTime<Utc>, speed: u32) -> Self {
        let started = Instant::now();
        Self {
            start,
            started,
            speed,
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.start + self.started.elapsed() * self.speed
    }

    async fn wait_until(&self, time: DateTime<Utc>) {
        let left: Duration = (time - self.now()).to_std().unwrap_or_default();
        tokio::time::sleep(left / self.speed).await;
    }
}

/// Calls `due` at every time of `cron`, for as long as it is polled; leaves out times that pass
/// while it is behind.
///
/// # Errors
///
/// If there is no next time.
pub async fn at_each(
    cron: &Cron,
    clock: &Clock,
    mut due: impl AsyncFnMut(DateTime<Utc>),
) -> Result<(), CronError> {
    let mut last = clock.now();
    loop {
        let next = cron.find_next_occurrence(&last, false)?;
        clock.wait_until(next).await;
        due(next).await;
        last = next.max(clock.now());
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::{Clock, Cron, OPEN_DAY, REFRESH, at_each};

    #[tokio::test]
    async fn both_batches_are_due_at_midnight() {
        let day = "2026-02-28".parse().expect("a day");
        let clock = Clock::fast(day, 60_000);
        for (expression, expected) in [
            (OPEN_DAY, &["03-01 00:00:00"][..]),
            (REFRESH, &["02-28 23:55:00", "03-01 00:00:00"]),
        ] {
            let cron = Cron::from_str(expression).expect("an expression");
            let mut times = Vec::new();
            let mut last = clock.start;
            while times.len() < expected.len() {
                last = cron.find_next_occurrence(&last, false).expect("a time");
                times.push(last.format("%m-%d %H:%M:%S").to_string());
            }
            assert_eq!(times, expected);
        }
    }

    #[tokio::test]
    async fn a_batch_is_called_when_it_is_due() {
        let day = "2026-02-28".parse().expect("a day");
        let clock = Clock::fast(day, 60_000);
        let cron = Cron::from_str(REFRESH).expect("an expression");
        let (called, mut calls) = tokio::sync::mpsc::unbounded_channel();
        let calling = at_each(&cron, &clock, async |due| {
            assert!(due <= clock.now());
            called.send(due).expect("somebody looks");
        });
        let looking = async {
            let first = calls.recv().await.expect("a call");
            let second = calls.recv().await.expect("another");
            assert!(first < second && second < clock.now());
        };
        tokio::select! {
            outcome = calling => panic!("it ends: {outcome:?}"),
            () = looking => {}
        }
    }
}
