//! A block keeps its generics, its attributes and its other items.

use tx_runtime::{Db, Dialect, Error, transactional};

pub struct Repository<DB: Dialect, const N: usize> {
    pub db: Db<DB>,
    pub rows: [i64; N],
}

#[transactional]
#[allow(clippy::unused_async, reason = "it is a sketch")]
impl<DB: Dialect, const N: usize> Repository<DB, N>
where
    [(); N]: Sized,
{
    /// How many rows there are.
    pub const ROWS: usize = { N };

    pub async fn sum(&self) -> Result<i64, Error> {
        Ok(self.rows.iter().sum())
    }

    pub(crate) async fn first(&mut self) -> Result<Option<&mut i64>, Error> {
        Ok(self.rows.first_mut())
    }
}

pub async fn both<DB: Dialect>(repository: &mut Repository<DB, 3>) -> Result<i64, Error> {
    let sum = repository.sum().await?;
    Ok(sum + repository.first().await?.copied().unwrap_or_default())
}
