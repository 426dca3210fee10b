// The spelling of other languages.
// Fix: write `RequiresNew`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = REQUIRES_NEW)]
async fn audit(db: &PgDb, text: &str) -> Result<(), Error> {
    sqlx::query("insert into audit (text) values ($1)").bind(text).execute(db).await?;
    Ok(())
}

fn main() {}
