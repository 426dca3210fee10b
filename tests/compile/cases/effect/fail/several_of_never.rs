// Every option without an effect is named, not just the first.
// Fix: remove both, or use `Required`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = Never, isolation = Serializable, timeout = "3s")]
async fn count(db: &PgDb) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from asset").fetch_one(db).await?)
}

fn main() {}
