// A duration is a whole number and one of four units.
// Fix: write `timeout = "5s"`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(timeout = "5 parsecs")]
async fn close_day(db: &PgDb) -> Result<(), Error> {
    sqlx::query("insert into day default values").execute(db).await?;
    Ok(())
}

fn main() {}
