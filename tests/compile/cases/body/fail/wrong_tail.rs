// What is wrong in the body is said as if there were no attribute.
// Fix: write `Ok(..)` around the last line.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn count(db: &PgDb) -> Result<i64, Error> {
    let select = sqlx::query_scalar::<_, i64>("select count(*) from asset");
    select.fetch_one(db).await?
}

fn main() {}
