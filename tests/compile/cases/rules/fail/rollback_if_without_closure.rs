// `rollback_if` looks at the value that the function returns.
// Fix: write `rollback_if = |imported| imported.is_empty()`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(rollback_if = true)]
async fn import(db: &PgDb) -> Result<Vec<i64>, Error> {
    Ok(sqlx::query_scalar("insert into asset default values returning id").fetch_all(db).await?)
}

fn main() {}
