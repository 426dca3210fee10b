//! Where a lock is held: this process among all others.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// This process, for people.
pub(crate) fn this_process() -> String {
    match host() {
        Some(host) => format!("process {} on {host}", std::process::id()),
        None => format!("process {}", std::process::id()),
    }
}

/// A number that nobody can guess or repeat.
pub(crate) fn random() -> u64 {
    // The standard library seeds every `RandomState` from the system's randomness.
    RandomState::new().build_hasher().finish()
}

fn host() -> Option<String> {
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = std::env::var("HOSTNAME").ok().or_else(kernel)?;
    let host = host.trim();
    (!host.is_empty()).then(|| host.to_owned())
}
