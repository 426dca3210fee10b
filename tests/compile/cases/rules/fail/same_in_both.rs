// One error cannot both commit and roll back.
// Fix: remove it from one of the two.
use tx_runtime::{Error, PgDb, transactional};

enum AssetError {
    Duplicate(i64),
    Database(Error),
}

impl From<Error> for AssetError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

#[transactional(no_rollback_for = AssetError::Duplicate(_), rollback_for = AssetError::Duplicate(..))]
async fn add(db: &PgDb, asset: i64) -> Result<(), AssetError> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await.map_err(Error::from)?;
    Err(AssetError::Duplicate(asset))
}

fn main() {}
