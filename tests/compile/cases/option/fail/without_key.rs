// A value without its option.
// Fix: write `propagation = RequiresNew`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(RequiresNew)]
async fn audit(db: &PgDb, text: &str) -> Result<(), Error> {
    sqlx::query("insert into audit (text) values ($1)").bind(text).execute(db).await?;
    Ok(())
}

fn main() {}
