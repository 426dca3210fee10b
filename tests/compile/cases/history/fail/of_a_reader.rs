// What reads only has no changes that somebody could have made.
// Fix: leave one of the two out.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(read_only, history(actor = "ann"))]
async fn count(db: &PgDb) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from asset").fetch_one(db).await?)
}

fn main() {}
