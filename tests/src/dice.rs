//! Chance that a seed brings back.

use std::time::{SystemTime, UNIX_EPOCH};

/// Numbers that depend on the seed alone: `SplitMix64`.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Neighbouring seeds give numbers that are unlike each other.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed that `TX_TEST_SEED` names, or one that was not there before.
    ///
    /// # Panics
    ///
    /// If the variable is not a number, or the clock stands before 1970.
    #[must_use]
    pub fn wished_seed() -> u64 {
        wish("TX_TEST_SEED").unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.expect("after 1970");
            now.as_secs() << 20 | u64::from(now.subsec_micros())
        })
    }

    /// A number below `sides`.
    pub const fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    /// As [`roll`](Self::roll), of a number of things.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn pick(&mut self, count: usize) -> usize {
        let picked = self.roll(u64::try_from(count).expect("few"));
        usize::try_from(picked).expect("few")
    }

    /// One of `all`.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.pick(all.len())]
    }

    /// Whether what happens this many times of a hundred happens now.
    pub const fn happens(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// The number in the environment's variable `name`, if there is one.
///
/// # Panics
///
/// If it is not a number.
#[must_use]
pub fn wish(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|error| panic!("{name}={value}: {error}")))
}
