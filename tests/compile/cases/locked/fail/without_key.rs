// What is locked has to be said.
// Fix: write `#[locked(key = "report:{account}")]`.
use tx_runtime::{Error, PgDb, locked};

#[locked]
async fn report(db: &PgDb, account: i64) -> Result<(), Error> {
    sqlx::query("insert into report values ($1)").bind(account).execute(db.pool()).await?;
    Ok(())
}

fn main() {}
