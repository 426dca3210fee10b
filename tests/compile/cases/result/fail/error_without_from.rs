// A commit that fails has to be reported in the function's own error type.
// Fix: write `impl From<tx_runtime::Error> for AssetError`.
use tx_runtime::{PgDb, transactional};

struct AssetError;

#[transactional]
async fn add(db: &PgDb, asset: i64) -> Result<(), AssetError> {
    let insert = sqlx::query("insert into asset values ($1)").bind(asset);
    insert.execute(db).await.map_err(|_| AssetError)?;
    Ok(())
}

fn main() {}
