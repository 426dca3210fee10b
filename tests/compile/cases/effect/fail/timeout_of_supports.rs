// `Supports` has no transaction of its own that could be limited.
// Fix: remove `timeout`, or use `Required`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = Supports, timeout = "3s")]
async fn count(db: &PgDb) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from asset").fetch_one(db).await?)
}

fn main() {}
