// The duration is part of the attribute, where a reader looks for it, and not computed.
// Fix: write `timeout = "5s"`.
use std::time::Duration;

use tx_runtime::{Error, PgDb, transactional};

const LIMIT: Duration = Duration::from_secs(5);

#[transactional(timeout = LIMIT)]
async fn close_day(db: &PgDb) -> Result<(), Error> {
    sqlx::query("insert into day default values").execute(db).await?;
    Ok(())
}

fn main() {}
