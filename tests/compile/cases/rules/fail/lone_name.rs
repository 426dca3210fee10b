// `Duplicate` is a variant only as long as it is imported. After a rename it is a new variable,
// which matches, and commits, every error.
// Fix: write `AssetError::Duplicate`.
use tx_runtime::{Error, PgDb, transactional};

enum AssetError {
    Duplicate,
    Database(Error),
}

impl From<Error> for AssetError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

#[transactional(no_rollback_for = Duplicate)]
async fn add(db: &PgDb, asset: i64) -> Result<(), AssetError> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await.map_err(Error::from)?;
    Ok(())
}

fn main() {}
