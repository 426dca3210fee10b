//! Who holds a lock: a value that nobody else has, and that people can read.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::lock::origin::{random, this_process};
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
        Self {
            process: this_process(),
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
