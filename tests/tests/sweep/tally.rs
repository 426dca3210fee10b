//! Sweeps side by side, and what they find.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{LocalBoxFuture, join_all};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tx_tests::{Backend, Shape};

use crate::subject::Start;

/// No work has that many await points; a sweep that comes here goes in circles.
const MOST_POLLS: usize = 2_000;

/// After so many waits in vain a sweep ends early: plain sqlx's would take minutes.
const MOST_HANGS: usize = 3;

/// How many sweeps run at once; each needs a few of the server's connections.
const AT_ONCE: usize = 10;

/// What may be wrong after a drop.
pub(crate) enum Wrong {
    Fault(String),
    /// Somebody waits too long: for us a fault, for plain sqlx perhaps a slow machine.
    Hang(&'static str),
}

/// What a look at one thing has found.
pub(crate) type Found = Result<(), Wrong>;

/// That something is as it should not be.
pub(crate) fn fault(what: impl Into<String>) -> Found {
    Err(Wrong::Fault(what.into()))
}

/// What a sweep, or several, have found.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) cases: usize,
    /// Cancelled, and stored all the same: COMMIT was under way.
    pub(crate) committed: usize,
    pub(crate) violations: Vec<String>,
    /// How many of the violations are waits.
    hangs: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.committed += other.committed;
        self.violations.extend(other.violations);
        self.hangs += other.hangs;
    }

    /// Writes down what is wrong, if anything is; tells whether.
    pub(crate) fn judge(&mut self, case: fmt::Arguments<'_>, found: Vec<Found>) -> bool {
        self.cases += 1;
        let wrong: Vec<_> = found.into_iter().filter_map(Result::err).collect();
        if wrong.is_empty() {
            return false;
        }
        let hangs = wrong.iter().any(|wrong| matches!(wrong, Wrong::Hang(_)));
        self.hangs += usize::from(hangs);
        let texts = wrong.iter().map(|wrong| match wrong {
            Wrong::Fault(text) => text,
            Wrong::Hang(text) => *text,
        });
        let texts = texts.collect::<Vec<_>>().join("; ");
        self.violations.push(format!("{case}: {texts}"));
        true
    }

    /// Whether there is no use in going on.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.hangs >= MOST_HANGS
    }

    /// The violations that no slowness explains.
    pub(crate) fn faults(&self) -> usize {
        self.violations.len() - self.hangs
    }
}

/// The same sweep several times at once: each lane visits its share of the await points.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    first: usize,
    step: usize,
}

impl Lane {
    pub(crate) fn split(lanes: usize) -> impl Iterator<Item = Self> {
        (1..=lanes).map(move |first| Self { first, step: lanes })
    }

    /// The points at which to drop, each with an id of its own.
    pub(crate) fn points(self) -> impl Iterator<Item = (usize, i64)> {
        let points = (self.first..MOST_POLLS).step_by(self.step);
        points.map(|n| (n, 10 * i64::try_from(n).expect("n is small")))
    }
}

/// A sweep that has not begun, and whether it is one of ours.
pub(crate) type Planned = (bool, LocalBoxFuture<'static, Option<Tally>>);

/// Runs sweeps at once, since most of them is waiting, each in a task of its own, so that
/// its futures are polled for its own events only; gives what ours and what plain sqlx's
/// have found.
pub(crate) async fn together(sweeps: Vec<Planned>) -> Option<[Tally; 2]> {
    let tasks = LocalSet::new();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let running = sweeps.into_iter().map(|(ours, sweep)| {
        let place = Arc::clone(&places).acquire_owned();
        let sweep = tasks.spawn_local(async move {
            let _place = place.await;
            sweep.await
        });
        async move { (ours, sweep.await.expect("a sweep panicked")) }
    });
    let running = join_all(running);
    let mut tallies = [Tally::default(), Tally::default()];
    for (ours, tally) in tasks.run_until(running).await {
        tallies[usize::from(!ours)].add(tally?);
    }
    Some(tallies)
}

/// One line past the capture of the test runner: these numbers are what the test is for.
pub(crate) fn report<B: Backend>(label: &str, ours: &Tally, plain: &Tally, started: Instant) {
    let line = format!(
        "sweep: {} {label}: {} cases ({} stored though dropped), {} violations; plain sqlx {} faults and {} hangs in {}; {:.1?}",
        B::LABEL,
        ours.cases,
        ours.committed,
        ours.violations.len(),
        plain.faults(),
        plain.hangs,
        plain.cases,
        started.elapsed(),
    );
    drop(writeln!(std::io::stderr(), "{line}"));
    assert!(ours.violations.is_empty(), "{:#?}", ours.violations);
}

/// How a test's answers arrive, and what it costs to wait for them.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) label: &'static str,
    pub(crate) shape: Option<Shape>,
    pub(crate) starts: &'static [Start],
    pub(crate) lanes: usize,
    pub(crate) times: usize,
}

impl Way {
    /// Every start and lane, as often as asked for.
    pub(crate) fn courses(self, ours: bool) -> impl Iterator<Item = Course> {
        let times = if ours { self.times } else { 1 };
        let starts = self.starts.iter();
        starts
            .flat_map(move |&start| Lane::split(self.lanes).map(move |lane| (start, lane)))
            .flat_map(move |(start, lane)| std::iter::repeat_n((start, lane), times))
            .map(move |(start, lane)| Course {
                start,
                lane,
                shape: self.shape,
            })
    }
}

/// What one sweep starts from and where it passes.
#[derive(Clone, Copy)]
pub(crate) struct Course {
    pub(crate) start: Start,
    pub(crate) lane: Lane,
    pub(crate) shape: Option<Shape>,
}

/// Late enough that every answer is waited for: each is an await point in every run.
pub(crate) const WHOLE: Way = Way {
    label: "whole",
    shape: Some(Shape::pieces(usize::MAX, Duration::from_millis(1))),
    starts: &[Start::Empty, Start::Cold, Start::Warm],
    lanes: 1,
    times: 1,
};

/// Answers in pieces small enough to cut every message of the protocol. Without connecting,
/// whose messages are the driver's own and many.
pub(crate) const SEVEN_BYTES: Way = Way {
    label: "7 bytes",
    shape: Some(Shape::pieces(7, Duration::from_millis(1))),
    starts: &[Start::Cold, Start::Warm],
    lanes: 3,
    ..WHOLE
};

pub(crate) const FIVE_BYTES: Way = Way {
    label: "5 bytes",
    shape: Some(Shape::pieces(5, Duration::from_millis(1))),
    ..SEVEN_BYTES
};

/// Where SQLite's worker thread is when a future is dropped varies from run to run.
pub(crate) const TEN_TIMES: Way = Way {
    label: "ten times",
    shape: None,
    times: 10,
    ..WHOLE
};
