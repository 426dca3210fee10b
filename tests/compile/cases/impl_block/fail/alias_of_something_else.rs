// What syntax cannot tell, the types tell, at the method's own result.
// Fix: return a `Result`, or exempt the method with `#[transactional(skip)]`.
use tx_runtime::{Error, PgDb, transactional};

type Size = u32;

struct Assets {
    db: PgDb,
}

#[transactional]
impl Assets {
    pub async fn add(&self, asset: i64) -> Result<(), Error> {
        sqlx::query("insert into asset values ($1)").bind(asset).execute(&self.db).await?;
        Ok(())
    }

    pub async fn size(&self) -> Size {
        self.db.pool().size()
    }
}

fn main() {}
