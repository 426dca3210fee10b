// A mistake in the block's attribute is reported once, not for each method.
// Fix: write `Serializable`.
use tx_runtime::{Error, PgDb, transactional};

struct Assets {
    db: PgDb,
}

#[transactional(isolation = Serialisable)]
impl Assets {
    pub async fn add(&self, asset: i64) -> Result<(), Error> {
        sqlx::query("insert into asset values ($1)").bind(asset).execute(&self.db).await?;
        Ok(())
    }

    pub async fn remove(&self, asset: i64) -> Result<(), Error> {
        sqlx::query("delete from asset where id = $1").bind(asset).execute(&self.db).await?;
        Ok(())
    }

    #[transactional(skip)]
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("select 1").execute(self.db.pool()).await?;
        Ok(())
    }
}

fn main() {}
