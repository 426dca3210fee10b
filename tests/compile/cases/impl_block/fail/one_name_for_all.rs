// Errors and traces would not tell the methods apart.
// Fix: write `name` in an attribute of the method's own.
use tx_runtime::{Error, PgDb, transactional};

struct Assets {
    db: PgDb,
}

#[transactional(name = "assets")]
impl Assets {
    pub async fn add(&self, asset: i64) -> Result<(), Error> {
        sqlx::query("insert into asset values ($1)").bind(asset).execute(&self.db).await?;
        Ok(())
    }
}

fn main() {}
