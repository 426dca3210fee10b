// `read_only` is said or not said.
// Fix: write `read_only`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(read_only = "yes")]
async fn count(db: &PgDb) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from asset").fetch_one(db).await?)
}

fn main() {}
