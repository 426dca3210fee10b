// The lock opens when the function returns, whatever it has started meanwhile.
// Fix: await the work.
use tx_runtime::{Error, PgDb, locked};

#[locked(key = "report:{account}")]
async fn report(db: &PgDb, account: i64) -> Result<(), Error> {
    let pool = db.pool().clone();
    tokio::spawn(async move {
        sqlx::query("insert into report values ($1)").bind(account).execute(&pool).await
    });
    Ok(())
}

fn main() {}
