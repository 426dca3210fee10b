// The pattern is matched against the function's own error type.
// Fix: name a variant of `AssetError`.
use tx_runtime::{Error, PgDb, transactional};

enum AssetError {
    Database(Error),
}

impl From<Error> for AssetError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

#[transactional(no_rollback_for = sqlx::Error::RowNotFound)]
async fn add(db: &PgDb, asset: i64) -> Result<(), AssetError> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await.map_err(Error::from)?;
    Ok(())
}

fn main() {}
