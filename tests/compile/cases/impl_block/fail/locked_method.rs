// A method of a transactional block is transactional, so its lock is written there.
// Fix: give the method its own `#[transactional(lock = "asset:{asset}")]`.
use tx_runtime::{Error, PgDb, locked, transactional};

struct Assets {
    db: PgDb,
}

#[transactional]
impl Assets {
    #[locked(key = "asset:{asset}")]
    pub async fn add(&self, asset: i64) -> Result<(), Error> {
        sqlx::query("insert into asset values ($1)").bind(asset).execute(&self.db).await?;
        Ok(())
    }
}

fn main() {}
