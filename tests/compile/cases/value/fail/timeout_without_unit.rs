// Seconds or milliseconds? The number alone does not say.
// Fix: write `timeout = "5s"`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(timeout = "5")]
async fn close_day(db: &PgDb) -> Result<(), Error> {
    sqlx::query("insert into day default values").execute(db).await?;
    Ok(())
}

fn main() {}
