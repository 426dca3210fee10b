// A word that the attribute does not know is never skipped: the scope would silently be another one.
// Fix: write `propagation`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propogation = RequiresNew)]
async fn audit(db: &PgDb, text: &str) -> Result<(), Error> {
    sqlx::query("insert into audit (text) values ($1)").bind(text).execute(db).await?;
    Ok(())
}

fn main() {}
