// A spawned task is not inside the transaction: it may run before the commit or after a rollback,
// and its statements are refused or autocommitted.
// Fix: await the work, or start it after the function has returned.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn register(db: &PgDb, account: i64) -> Result<(), Error> {
    let in_background = db.clone();
    tokio::spawn(async move {
        sqlx::query("insert into mail values ($1)").bind(account).execute(&in_background).await
    });
    sqlx::query("insert into account values ($1)").bind(account).execute(db).await?;
    Ok(())
}

fn main() {}
