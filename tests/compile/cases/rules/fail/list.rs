// Several errors are one pattern, as in `match`.
// Fix: write `AssetError::Remote(404) | AssetError::Remote(410)`.
use tx_runtime::{Error, PgDb, transactional};

enum AssetError {
    Remote(u16),
    Database(Error),
}

impl From<Error> for AssetError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

#[transactional(no_rollback_for = [AssetError::Remote(404), AssetError::Remote(410)])]
async fn add(db: &PgDb, asset: i64) -> Result<(), AssetError> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await.map_err(Error::from)?;
    Err(AssetError::Remote(404))
}

fn main() {}
