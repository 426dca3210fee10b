// The block's attribute is the default for each of its `pub async` methods.
// Fix: return a `Result`, or exempt the method with `#[transactional(skip)]`.
use tx_runtime::{Error, PgDb, transactional};

struct Assets {
    db: PgDb,
}

#[transactional]
impl Assets {
    pub async fn add(&self, asset: i64) -> Result<(), Error> {
        sqlx::query("insert into asset values ($1)").bind(asset).execute(&self.db).await?;
        Ok(())
    }

    pub async fn size(&self) -> u32 {
        self.db.pool().size()
    }
}

fn main() {}
