// The closure is given the value of `Ok`.
// Fix: ask the number: `|imported| *imported == 0`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(rollback_if = |imported| imported.is_empty())]
async fn import(db: &PgDb) -> Result<u64, Error> {
    Ok(sqlx::query("insert into asset default values").execute(db).await?.rows_affected())
}

fn main() {}
