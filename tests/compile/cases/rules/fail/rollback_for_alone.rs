// Every `Err` rolls back; there are no checked exceptions that would need to be added.
// Fix: remove `rollback_for`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(rollback_for = Error::Database { .. })]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
