//! The one row in which all assets of an account stand.

use crate::error::Error;

/// How many assets an account may have.
const MAX_ASSETS: usize = 500;

/// An account's row of `interest_asset`, stored or still to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `None` until the row is stored.
    pub id: Option<i64>,
    /// Whose it is.
    pub account: i64,
    /// In the order in which they were added.
    pub assets: Vec<i64>,
}

impl Row {
    /// The only one of an account's `rows`; an empty row if there is none yet.
    ///
    /// # Errors
    ///
    /// [`Error::NotUnique`] if there are several.
    pub fn unique(mut rows: Vec<Self>, account: i64) -> Result<Self, Error> {
        match rows.len() {
            0 => Ok(Self {
                id: None,
                account,
                assets: Vec::new(),
            }),
            1 => Ok(rows.remove(0)),
            several => Err(Error::NotUnique(several)),
        }
    }

    /// Adds `asset`; `false` if it is listed already.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if the row lists 500 others.
    pub fn add(&mut self, asset: i64) -> Result<bool, Error> {
        if self.assets.contains(&asset) {
            return Ok(false);
        }
        if self.assets.len() >= MAX_ASSETS {
            return Err(Error::Full(MAX_ASSETS));
        }
        self.assets.push(asset);
        Ok(true)
    }

    /// Takes `asset` out; `false` if it is not listed.
    pub fn remove(&mut self, asset: i64) -> bool {
        let before = self.assets.len();
        self.assets.retain(|&listed| listed != asset);
        self.assets.len() < before
    }
}

/// The column's text, as in `52,418,3`.
pub fn join(assets: &[i64]) -> String {
    let texts: Vec<_> = assets.iter().map(i64::to_string).collect();
    texts.join(",")
}

/// What [`join`] joined.
///
/// # Errors
///
/// If something else than whole numbers stands between the commas.
pub fn split(text: &str) -> Result<Vec<i64>, std::num::ParseIntError> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts.map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::{Error, MAX_ASSETS, Row, join, split};

    fn row(assets: Vec<i64>) -> Row {
        Row {
            id: Some(1),
            account: 7,
            assets,
        }
    }

    #[test]
    fn an_asset_is_listed_once() {
        let mut row = row(vec![52, 418]);
        assert!(matches!(row.add(52), Ok(false)));
        assert!(matches!(row.add(5), Ok(true)));
        assert_eq!(row.assets, [52, 418, 5]);
    }

    #[test]
    fn only_a_listed_asset_is_removed() {
        let mut row = row(vec![52, 418]);
        assert!(!row.remove(5));
        assert!(row.remove(52));
        assert_eq!(row.assets, [418]);
    }

    #[test]
    fn a_full_row_takes_no_more() {
        let mut row = row((1..).take(MAX_ASSETS).collect());
        assert!(matches!(row.add(1), Ok(false)));
        assert!(matches!(row.add(9999), Err(Error::Full(MAX_ASSETS))));
    }

    #[test]
    fn two_rows_are_an_error_and_none_is_an_empty_one() {
        let both = vec![row(vec![52]), row(vec![52])];
        assert!(matches!(Row::unique(both, 7), Err(Error::NotUnique(2))));
        let none = Row::unique(Vec::new(), 7).expect("a new row");
        assert_eq!((none.id, none.account, none.assets), (None, 7, vec![]));
    }

    #[test]
    fn the_column_holds_numbers_between_commas() {
        assert_eq!(join(&[52, 418, 3]), "52,418,3");
        assert_eq!(split("52,418,3"), Ok(vec![52, 418, 3]));
        assert_eq!(split(&join(&[])), Ok(vec![]));
        assert!(split("52;418").is_err());
    }
}
