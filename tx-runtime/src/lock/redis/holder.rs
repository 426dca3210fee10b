//! Who holds a lock: a value that nobody else has, and that people can read.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::site::Site;

/// What tells this process from all others.
#[derive(Debug)]
pub(super) struct Signature {
    process: String,
    nonce: [u64; 2],
    acquisitions: AtomicU64,
}

impl Signature {
    pub(super) fn of_this_process() -> Self {
        let process = match host() {
            Some(host) => format!("process {} on {host}", std::process::id()),
            None => format!("process {}", std::process::id()),
        };
        Self {
            process,
            nonce: [random(), random()],
            acquisitions: AtomicU64::new(0),
        }
    }

    /// The value of one acquisition by `function`.
    pub(super) fn value(&self, function: Site) -> String {
        let Self { process, nonce, .. } = self;
        let n = self.acquisitions.fetch_add(1, Ordering::Relaxed);
        let holder = Holder { function, process };
        format!("{holder}{MARK}{:016x}{:016x}-{n}", nonce[0], nonce[1])
    }
}

/// Divides what people read from what makes the value unique.
const MARK: &str = " #";

struct Holder<'a> {
    function: Site,
    process: &'a str,
}

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.function, self.process)
    }
}

/// The part of a value that is for people.
pub(super) fn in_words(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    match value.rsplit_once(MARK) {
        Some((holder, _)) => holder.to_owned(),
        // Not one of ours; then all of it may help.
        None => value.into_owned(),
    }
}

/// A number that nobody can guess or repeat.
pub(super) fn random() -> u64 {
    // The standard library seeds every `RandomState` from the system's randomness.
    RandomState::new().build_hasher().finish()
}

fn host() -> Option<String> {
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = std::env::var("HOSTNAME").ok().or_else(kernel)?;
    let host = host.trim();
    (!host.is_empty()).then(|| host.to_owned())
}
