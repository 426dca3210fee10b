//! How often a scope is run again, and after which wait.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Runs a scope again that a conflict with others has rolled back.
///
/// A conflict is what the database names by its code: a serialization failure, a deadlock, a
/// lock that was not free in time, a busy database, also when it comes to light at COMMIT; and a
/// connection that was lost at COMMIT, if it is certain that nothing is stored. The body's own
/// errors are none. Between two attempts the connection is back in the pool, while
/// locks taken by the scope stay shut. Hooks of an attempt that is repeated are dropped, but for
/// those of its savepoints that have been rolled back, which have run by then.
///
/// ```
/// use std::time::Duration;
/// use tx_runtime::Retry;
///
/// const PATIENT: Retry = Retry::attempts(10).backoff(Duration::from_millis(5), Duration::from_secs(2));
/// # let _ = PATIENT;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    attempts: u32,
    least: Duration,
    most: Duration,
    idempotent: bool,
}

impl Retry {
    /// At most so many attempts, the first one included; none counts as one. The waits are
    /// between 10 milliseconds and a second.
    #[must_use]
    pub const fn attempts(attempts: u32) -> Self {
        Self {
            attempts,
            least: Duration::from_millis(10),
            most: Duration::from_secs(1),
            idempotent: false,
        }
    }

    /// The bounds of the waits between two attempts. The bound that a wait is drawn below
    /// starts at `least` and doubles each time, up to `most`; where `most` is less than `least`,
    /// each wait is `least`.
    #[must_use]
    pub const fn backoff(mut self, least: Duration, most: Duration) -> Self {
        self.least = least;
        self.most = most;
        self
    }

    /// Declares that running the body twice does no harm, so that it is run again also when
    /// nobody can say what became of its COMMIT.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    pub(crate) fn is_idempotent(self) -> bool {
        self.idempotent
    }

    /// The wait after an attempt, counted from 1, or `None` if that was the last one.
    pub(crate) fn wait_after(self, attempt: u32) -> Option<Duration> {
        (attempt < self.attempts).then(|| self.wait(attempt, random()))
    }

    /// `chance`: anything; all waits within the bounds are equally likely.
    fn wait(self, attempt: u32, chance: u64) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt);
        let bound = self.least.saturating_mul(doubled).min(self.most);
        let span = bound.saturating_sub(self.least);
        // Those who were in conflict must not come back together.
        let share =
            f64::from(u32::try_from(chance >> 32).unwrap_or_default()) / f64::from(u32::MAX);
        self.least + span.mul_f64(share)
    }
}

/// The standard library's hash keys are drawn anew each time.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Retry, random};

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn waits_stay_within_their_bounds() {
        let retry = Retry::attempts(100).backoff(10 * MILLI, 1000 * MILLI);
        for attempt in 1..100 {
            for chance in [0, u64::MAX, random()] {
                let wait = retry.wait(attempt, chance);
                assert!((10 * MILLI..=1000 * MILLI).contains(&wait), "{wait:?}");
            }
        }
        assert_eq!(retry.wait(1, 0), 10 * MILLI);
        assert_eq!(retry.wait(1, u64::MAX), 20 * MILLI);
        assert_eq!(retry.wait(3, u64::MAX), 80 * MILLI);
    }

    #[test]
    fn waits_differ() {
        let retry = Retry::attempts(9).backoff(Duration::ZERO + MILLI, 1000 * MILLI);
        let waits: Vec<_> = (0..20).filter_map(|_| retry.wait_after(8)).collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }

    #[test]
    fn the_last_attempt_is_followed_by_none() {
        let retry = Retry::attempts(3);
        assert!(retry.wait_after(2).is_some());
        assert_eq!(retry.wait_after(3), None);
        assert_eq!(Retry::attempts(0).wait_after(1), None);
    }
}
