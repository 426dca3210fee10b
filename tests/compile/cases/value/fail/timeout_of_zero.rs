// No time at all is not "no limit".
// Fix: write `timeout = "none"`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(timeout = "0s")]
async fn close_day(db: &PgDb) -> Result<(), Error> {
    sqlx::query("insert into day default values").execute(db).await?;
    Ok(())
}

fn main() {}
