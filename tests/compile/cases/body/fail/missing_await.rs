// A future that is not awaited.
// Fix: write `.await` before the `?`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db)?;
    Ok(())
}

fn main() {}
