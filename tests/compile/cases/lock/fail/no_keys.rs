// A list of keys with none in it locks nothing.
// Fix: name what is locked.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock(keys = []))]
async fn transfer(db: &PgDb, from: i64, to: i64) -> Result<(), Error> {
    sqlx::query("insert into transfer values ($1, $2)").bind(from).bind(to).execute(db).await?;
    Ok(())
}

fn main() {}
