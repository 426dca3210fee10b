// A flag that is off is one that is not there.
// Fix: leave `read_only` out.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(read_only = false)]
async fn count(db: &PgDb) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from asset").fetch_one(db).await?)
}

fn main() {}
