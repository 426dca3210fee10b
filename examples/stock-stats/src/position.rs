//! What a user holds.

use std::collections::BTreeMap;

/// Some shares of a user, and what one of them costs.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// Whose they are.
    pub user: i64,
    /// How many.
    pub shares: i64,
    /// The current price of one.
    pub cents: i64,
}

/// What each user's stocks are worth together.
pub(crate) fn worths(positions: Vec<Position>) -> BTreeMap<i64, i64> {
    let mut worths = BTreeMap::new();
    for Position {
        user,
        shares,
        cents,
    } in positions
    {
        *worths.entry(user).or_default() += shares * cents;
    }
    worths
}

#[cfg(test)]
mod tests {
    use super::{Position, worths};

    #[test]
    fn a_user_is_worth_all_positions() {
        let positions = [(1, 2, 10), (2, 1, 7), (1, 1, 7)].map(|(user, shares, cents)| Position {
            user,
            shares,
            cents,
        });
        assert_eq!(worths(positions.to_vec()), [(1, 27), (2, 7)].into());
    }
}
