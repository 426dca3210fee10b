// Arguments and their fields are as much as a key computes.
// Fix: have the caller hand over the value, and name that argument.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock = "login:{email.to_lowercase()}")]
async fn sign_up(db: &PgDb, email: &str) -> Result<(), Error> {
    sqlx::query("insert into login values ($1)").bind(email).execute(db).await?;
    Ok(())
}

fn main() {}
