//! Under `#[async_trait]`, whose methods are no `async fn` any more when the attribute sees them.

use async_trait::async_trait;
use tx_runtime::{Error, PgDb, transactional};

#[async_trait]
pub trait Assets: Sync {
    async fn add(&self, account: i64, asset: i64) -> Result<(), Error>;

    async fn rename(&mut self, names: &mut Vec<String>, name: String) -> Result<usize, Error>;

    fn db(&self) -> &PgDb;

    #[transactional(db = self.db())]
    async fn add_all(&self, account: i64, assets: &[i64]) -> Result<usize, Error> {
        for asset in assets {
            self.add(account, *asset).await?;
        }
        Ok(assets.len())
    }
}

pub struct Table {
    pub db: PgDb,
}

#[async_trait]
impl Assets for Table {
    #[transactional(propagation = Isolated, lock = "asset:{account}")]
    async fn add(&self, account: i64, asset: i64) -> Result<(), Error> {
        let insert = sqlx::query("insert into asset values ($1, $2)");
        insert.bind(account).bind(asset).execute(&self.db).await?;
        Ok(())
    }

    #[transactional]
    async fn rename(&mut self, names: &mut Vec<String>, name: String) -> Result<usize, Error> {
        sqlx::query("update asset set name = $1")
            .bind(&name)
            .execute(&self.db)
            .await?;
        names.push(name);
        Ok(names.len())
    }

    fn db(&self) -> &PgDb {
        &self.db
    }
}

#[must_use]
pub fn as_object(table: &Table) -> &dyn Assets {
    table
}
