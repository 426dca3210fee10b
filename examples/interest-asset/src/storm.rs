//! Many clients at once, each of them tapping twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sqlx::Executor;
use tokio::task::JoinSet;

use crate::no_lock::NoLock;
use crate::service::{Error, InterestAssets};
use crate::store::Store;

/// The assets that every account adds, each with a double tap.
const ASSETS: [i64; 4] = [52, 418, 3, 77];

/// What a tap calls.
pub(crate) trait Register: Send + Sync + 'static {
    fn register(&self, account: i64, asset: i64) -> impl Future<Output = Result<(), Error>> + Send;
}

impl<DB: Store> Register for InterestAssets<DB> {
    async fn register(&self, account: i64, asset: i64) -> Result<(), Error> {
        Self::register(self, account, asset).await
    }
}

impl<DB: Store> Register for NoLock<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    async fn register(&self, account: i64, asset: i64) -> Result<(), Error> {
        Self::register(self, account, asset).await
    }
}

/// What the clients were told.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// The pairs of account and asset of which at least one tap got an `Ok`.
    pub(crate) acknowledged: BTreeSet<(i64, i64)>,
    /// How often each error was seen.
    pub(crate) failures: BTreeMap<String, usize>,
    /// How many taps there were.
    pub(crate) requests: usize,
    /// From the first tap to the last answer.
    pub(crate) elapsed: Duration,
}

impl Answers {
    fn note(&mut self, account: i64, asset: i64, answer: Result<(), Error>) {
        self.requests += 1;
        match answer {
            Ok(()) => drop(self.acknowledged.insert((account, asset))),
            Err(error) => *self.failures.entry(error.to_string()).or_default() += 1,
        }
    }

    fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.acknowledged.extend(other.acknowledged);
        for (text, count) in other.failures {
            *self.failures.entry(text).or_default() += count;
        }
    }
}

/// Has `clients` tasks tap every asset of every account twice.
pub(crate) async fn run(service: impl Register, accounts: u32, clients: usize) -> Answers {
    let pairs: Arc<[(i64, i64)]> = (1..=i64::from(accounts))
        .flat_map(|account| ASSETS.map(|asset| (account, asset)))
        .collect();
    let next = Arc::new(AtomicUsize::new(0));
    let service = Arc::new(service);
    let progress = progress_bar(pairs.len() * 2);
    let started = Instant::now();

    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (pairs, next) = (Arc::clone(&pairs), Arc::clone(&next));
        let (service, progress) = (Arc::clone(&service), progress.clone());
        tasks.spawn(async move {
            let mut answers = Answers::default();
            while let Some(&(account, asset)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (first, second) = tokio::join!(
                    service.register(account, asset),
                    service.register(account, asset),
                );
                answers.note(account, asset, first);
                answers.note(account, asset, second);
                progress.inc(2);
            }
            answers
        });
    }

    let mut answers = Answers::default();
    for part in tasks.join_all().await {
        answers.merge(part);
    }
    answers.elapsed = started.elapsed();
    progress.finish_and_clear();
    answers
}

/// A bar on standard error; it draws nothing where that is not a terminal.
fn progress_bar(requests: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} taps, {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(requests as u64).with_style(style)
}
