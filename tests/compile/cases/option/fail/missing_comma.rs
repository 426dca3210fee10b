// Options stand between commas.
// Fix: write a comma before `name`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = RequiresNew name = "audit")]
async fn audit(db: &PgDb, text: &str) -> Result<(), Error> {
    sqlx::query("insert into audit (text) values ($1)").bind(text).execute(db).await?;
    Ok(())
}

fn main() {}
