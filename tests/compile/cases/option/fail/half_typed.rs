// While an option is being typed, the function below it stays a function: one error, and the
// callers and the body are understood as before.
// Fix: finish the option.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propagation = )]
async fn audit(db: &PgDb, text: &str) -> Result<(), Error> {
    sqlx::query("insert into audit (text) values ($1)").bind(text).execute(db).await?;
    Ok(())
}

#[transactional]
async fn close(db: &PgDb) -> Result<(), Error> {
    audit(db, "closed").await
}

fn main() {}
