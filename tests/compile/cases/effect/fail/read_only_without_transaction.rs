// Without a transaction there is nothing that the server could hold to `read_only`.
// Fix: remove `read_only`, or use `Required`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = Never, read_only)]
async fn count(db: &PgDb) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from asset").fetch_one(db).await?)
}

fn main() {}
