// An associated function has no `self.db`.
// Fix: exempt it with `#[transactional(skip)]`.
use tx_runtime::{Error, PgDb, transactional};

struct Assets {
    db: PgDb,
}

#[transactional]
impl Assets {
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Ok(Self { db: PgDb::connect(url).await? })
    }

    pub async fn add(&self, asset: i64) -> Result<(), Error> {
        sqlx::query("insert into asset values ($1)").bind(asset).execute(&self.db).await?;
        Ok(())
    }
}

fn main() {}
