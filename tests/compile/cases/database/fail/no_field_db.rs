// In a method the default is `self.db`.
// Fix: write `#[transactional(db = self.pool)]`.
use tx_runtime::{Error, PgDb, transactional};

struct Assets {
    pool: PgDb,
}

impl Assets {
    #[transactional]
    async fn add(&self, asset: i64) -> Result<(), Error> {
        sqlx::query("insert into asset values ($1)").bind(asset).execute(&self.pool).await?;
        Ok(())
    }
}

fn main() {}
