// A pair of value and error is not a `Result`.
// Fix: return `Result<u64, Error>`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn add(db: &PgDb, asset: i64) -> (u64, Option<Error>) {
    let insert = sqlx::query("insert into asset values ($1)").bind(asset);
    match insert.execute(db).await {
        Ok(done) => (done.rows_affected(), None),
        Err(error) => (0, Some(error.into())),
    }
}

fn main() {}
