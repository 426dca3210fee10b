// The rule is about the value alone; the arguments belong to the body.
// Fix: compare in the body, and return an error.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(rollback_if = |imported| imported.len() < least)]
async fn import(db: &PgDb, least: usize) -> Result<Vec<i64>, Error> {
    Ok(sqlx::query_scalar("insert into asset default values returning id").fetch_all(db).await?)
}

fn main() {}
