// All mistakes are reported together, each on its own word.
// Fix: correct the four words.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(propogation = Required, isolation = Snapshot, timeout = "3 weeks", name = 7)]
async fn transfer(db: &PgDb, amount: i64) -> Result<(), Error> {
    sqlx::query("update account set balance = balance - $1").bind(amount).execute(db).await?;
    Ok(())
}

fn main() {}
