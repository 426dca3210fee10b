// Durations are whole numbers; a smaller unit says the same.
// Fix: write `timeout = "1500ms"`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(timeout = "1.5s")]
async fn close_day(db: &PgDb) -> Result<(), Error> {
    sqlx::query("insert into day default values").execute(db).await?;
    Ok(())
}

fn main() {}
