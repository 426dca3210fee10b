//! A database for one test, gone with it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::backend::{Backend, ConnectOptions};

/// What names of scratch databases begin with.
const PREFIX: &str = "txt";

/// A scratch database of this age belongs to no living run.
const STALE: Duration = Duration::from_hours(1);

/// Longer than this nobody waits for a database to be dropped.
const DISCARD_LIMIT: Duration = Duration::from_mins(1);

/// A fresh database, dropped with this value.
pub struct Scratch<B: Backend> {
    name: String,
    options: ConnectOptions<B>,
    live: bool,
}

impl<B: Backend> Scratch<B> {
    pub(crate) fn new(name: String, options: ConnectOptions<B>) -> Self {
        Self {
            name,
            options,
            live: true,
        }
    }

    /// Its name: of the database on a server, of the directory of a SQLite file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How to connect to it.
    #[must_use]
    pub fn options(&self) -> &ConnectOptions<B> {
        &self.options
    }

    /// Drops the database now; without it, `Drop` does so on a thread of its own.
    pub async fn finish(mut self) {
        self.live = false;
        discard::<B>(self.name.clone(), self.options.clone()).await;
    }
}

async fn discard<B: Backend>(name: String, options: ConnectOptions<B>) {
    let dropped = tokio::time::timeout(DISCARD_LIMIT, B::discard(name.clone(), options)).await;
    if !matches!(dropped, Ok(Ok(()))) {
        eprintln!(
            "tx-tests: {}: {name} was not dropped: {dropped:?}",
            B::LABEL
        );
    }
}

impl<B: Backend> Drop for Scratch<B> {
    fn drop(&mut self) {
        if !self.live {
            return;
        }
        let (name, options) = (self.name.clone(), self.options.clone());
        // The runtime around may be shutting down or single-threaded; this one is not.
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map(|runtime| runtime.block_on(discard::<B>(name, options)))
        });
        if thread.join().is_err() {
            eprintln!("tx-tests: {}: {} was not dropped", B::LABEL, self.name);
        }
    }
}

impl<B: Backend> fmt::Debug for Scratch<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch")
            .field("backend", &B::LABEL)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A name that no other test or process has, and that tells its age.
pub(crate) fn fresh_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}_{}_{}_{n}", now(), std::process::id())
}

/// Whether `name` is that of a scratch database that a crashed run left behind.
pub(crate) fn is_stale(name: &str) -> bool {
    let mut parts = name.split('_');
    parts.next() == Some(PREFIX)
        && parts
            .next()
            .and_then(|born| born.parse::<u64>().ok())
            .is_some_and(|born| born + STALE.as_secs() < now())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
