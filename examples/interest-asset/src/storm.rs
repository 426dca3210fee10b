//! Many users at once, each of them tapping twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::Method;
use stage::ProgressBar;
use tokio::task::JoinSet;

use crate::client::{Answer, Client, NoAnswer};
use crate::problem::Members;

/// The assets that every account adds, each with a double tap.
pub const ASSETS: [i64; 4] = [52, 418, 3, 77];

/// What the users were told.
#[derive(Debug, Default)]
pub struct Answers {
    /// The pairs of account and asset of which at least one tap was answered with success.
    pub acknowledged: BTreeSet<(i64, i64)>,
    /// How often each failure was seen.
    pub failures: BTreeMap<String, usize>,
    /// How long each request took.
    pub latencies: Vec<Duration>,
}

impl Answers {
    fn note(&mut self, account: i64, asset: i64, tap: Tap) {
        self.latencies.push(tap.took);
        match tap.failure {
            None => drop(self.acknowledged.insert((account, asset))),
            Some(failure) => *self.failures.entry(failure).or_default() += 1,
        }
    }

    fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.latencies.extend(other.latencies);
        for (text, count) in other.failures {
            *self.failures.entry(text).or_default() += count;
        }
    }
}

/// Has `users` clients tap every asset of all `accounts` twice, on two connections each.
///
/// Assets of one account are next to each other, so that several users, or rather one with
/// quick fingers, add different ones to its row at the same time. Where there are several
/// `servers`, the two taps go to different ones. Each double tap is a step of `progress`.
///
/// # Panics
///
/// If there is no server.
pub async fn run(
    servers: &[SocketAddr],
    accounts: RangeInclusive<i64>,
    users: u32,
    progress: &ProgressBar,
) -> Answers {
    let pairs: Arc<[(i64, i64)]> = accounts
        .flat_map(|account| ASSETS.map(|asset| (account, asset)))
        .collect();
    let next = Arc::new(AtomicUsize::new(0));

    let mut tasks = JoinSet::new();
    let mut balanced = servers.iter().copied().cycle();
    let mut finger = || Client::new(balanced.next().expect("there is a server"));
    for _ in 0..users {
        let (pairs, next) = (Arc::clone(&pairs), Arc::clone(&next));
        let progress = progress.clone();
        let mut fingers = (finger(), finger());
        tasks.spawn(async move {
            let mut answers = Answers::default();
            while let Some(&(account, asset)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (first, second) = tokio::join!(
                    tap(&mut fingers.0, account, asset),
                    tap(&mut fingers.1, account, asset),
                );
                answers.note(account, asset, first);
                answers.note(account, asset, second);
                progress.inc(1);
            }
            answers
        });
    }

    let mut answers = Answers::default();
    for part in tasks.join_all().await {
        answers.merge(part);
    }
    answers
}

struct Tap {
    took: Duration,
    failure: Option<String>,
}

async fn tap(client: &mut Client, account: i64, asset: i64) -> Tap {
    let path = format!("/accounts/{account}/interest-assets/{asset}");
    let started = Instant::now();
    let answer = client.send(Method::PUT, &path).await;
    Tap {
        took: started.elapsed(),
        failure: failure(answer),
    }
}

/// What the user sees of a failed tap; `None` if it did not fail.
fn failure(answer: Result<Answer, NoAnswer>) -> Option<String> {
    let answer = match answer {
        Ok(answer) if answer.status.is_success() => return None,
        Ok(answer) => answer,
        Err(error) => return Some(error.to_string()),
    };
    let detail = match serde_json::from_slice(&answer.body) {
        Ok(Members { detail, .. }) => detail,
        Err(_) => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    Some(format!("{}: {detail}", answer.status))
}
