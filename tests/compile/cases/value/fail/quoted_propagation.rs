// Modes are words, so that an editor can complete them and the compiler can read them.
// Fix: write `propagation = RequiresNew`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = "requires_new")]
async fn audit(db: &PgDb, text: &str) -> Result<(), Error> {
    sqlx::query("insert into audit (text) values ($1)").bind(text).execute(db).await?;
    Ok(())
}

fn main() {}
