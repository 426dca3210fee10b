// The more specific rule wins. Of these two neither is: `Remote(404, true)` matches both.
// Fix: narrow one of them, such as `Remote(_, false)`.
use tx_runtime::{Error, PgDb, transactional};

enum AssetError {
    Remote(u16, bool),
    Database(Error),
}

impl From<Error> for AssetError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

#[transactional(no_rollback_for = AssetError::Remote(404, _), rollback_for = AssetError::Remote(_, true))]
async fn add(db: &PgDb, asset: i64) -> Result<(), AssetError> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await.map_err(Error::from)?;
    Err(AssetError::Remote(404, false))
}

fn main() {}
