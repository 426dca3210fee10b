// A thread has a call chain of its own as well.
// Fix: start it in the caller, after the function has returned.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn register(db: &PgDb, account: i64) -> Result<(), Error> {
    sqlx::query("insert into account values ($1)").bind(account).execute(db).await?;
    std::thread::spawn(move || println!("welcome, {account}"));
    Ok(())
}

fn main() {}
