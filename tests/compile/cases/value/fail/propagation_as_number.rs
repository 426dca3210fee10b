// Something that is no word at all gets the list of modes.
// Fix: write one of the eight modes.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = 3)]
async fn audit(db: &PgDb, text: &str) -> Result<(), Error> {
    sqlx::query("insert into audit (text) values ($1)").bind(text).execute(db).await?;
    Ok(())
}

fn main() {}
