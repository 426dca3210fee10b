// A rule that is there already.
// Fix: remove it.
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

#[transactional(no_rollback_for = AssetError::Duplicate(_) | AssetError::Duplicate(0))]
async fn add(db: &PgDb, asset: i64) -> Result<(), AssetError> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await.map_err(Error::from)?;
    Err(AssetError::Duplicate(asset))
}

fn main() {}
