//! Whose stocks there are.

use fastrand::Rng;
use sqlx::Pool;

use crate::feed::STOCKS;
use crate::store::Store;

/// How many different stocks a user holds.
const STOCKS_OF_EACH: usize = 3;

/// More shares of one stock nobody has.
const MOST_SHARES: i64 = 200;

/// Some shares of one stock.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    /// Whose they are.
    pub user: i64,
    /// Of what.
    pub symbol: &'static str,
    /// How many.
    pub shares: i64,
}

/// Stores so many users with what they hold, and the first prices, in tables that are empty.
///
/// # Errors
///
/// If they cannot be stored.
pub async fn fill<DB: Store>(pool: &Pool<DB>, users: u32, seed: u64) -> sqlx::Result<()> {
    let users: Vec<i64> = (1..=i64::from(users)).collect();
    let mut dice = Rng::with_seed(seed);
    let mut holdings = Vec::new();
    for &user in &users {
        for (symbol, _) in dice.choose_multiple(STOCKS, STOCKS_OF_EACH) {
            let shares = dice.i64(1..=MOST_SHARES);
            holdings.push(Holding {
                user,
                symbol,
                shares,
            });
        }
    }
    DB::fill(pool, &users, &STOCKS, &holdings).await
}
