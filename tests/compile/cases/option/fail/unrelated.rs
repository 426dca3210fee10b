// A word that resembles no option gets the list of those there are.
// Fix: caching is not this attribute's business; remove it.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(cacheable)]
async fn count(db: &PgDb) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from asset").fetch_one(db).await?)
}

fn main() {}
