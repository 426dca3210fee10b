// What is wrong in the body is said as if there were no attribute.
// Fix: return a number.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn count(db: &PgDb) -> Result<i64, Error> {
    let select = sqlx::query_scalar::<_, i64>("select count(*) from asset");
    Ok(select.fetch_one(db).await?.to_string())
}

fn main() {}
