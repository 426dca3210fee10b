//! How prices move.

use fastrand::Rng;
use sqlx::Pool;

use crate::store::Store;

/// The stocks there are, and what they cost in the beginning.
pub const STOCKS: [(&str, i64); 6] = [
    ("ASHE", 7_420),
    ("BIRK", 18_950),
    ("CEDR", 2_310),
    ("ELMS", 54_070),
    ("LRCH", 960),
    ("OAKE", 31_880),
];

/// How far a price moves at once, in percent.
const LARGEST_MOVE: i64 = 2;

/// Prices that depend on the seed alone.
#[derive(Debug)]
pub struct Feed {
    dice: Rng,
    cents: [i64; STOCKS.len()],
}

impl Feed {
    /// The prices as they are in the beginning.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Rng::with_seed(seed),
            cents: STOCKS.map(|(_, cents)| cents),
        }
    }

    /// Moves every price, and stores it.
    ///
    /// # Errors
    ///
    /// If it cannot be stored.
    pub async fn tick<DB: Store>(&mut self, pool: &Pool<DB>) -> sqlx::Result<()> {
        self.step();
        for ((symbol, _), cents) in STOCKS.into_iter().zip(self.cents) {
            DB::set_price(pool, symbol, cents).await?;
        }
        Ok(())
    }

    fn step(&mut self) {
        for cents in &mut self.cents {
            let furthest = (*cents * LARGEST_MOVE / 100).max(1);
            *cents = (*cents + self.dice.i64(-furthest..=furthest)).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Feed;

    #[test]
    fn a_seed_brings_the_same_prices_back() {
        let prices = |seed| {
            let mut feed = Feed::new(seed);
            for _ in 0..1000 {
                feed.step();
            }
            feed.cents
        };
        assert_eq!(prices(7), prices(7));
        assert_ne!(prices(7), prices(8));
        assert!(prices(7).iter().all(|&cents| cents > 0));
    }
}
