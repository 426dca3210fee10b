//! Methods of traits, default bodies among them; the attribute of an `impl` has nothing to do with
//! the trait's.

use tx_runtime::{Error, PgDb, transactional};

pub trait Assets: Sync {
    fn db(&self) -> &PgDb;

    fn add(&self, asset: i64) -> impl Future<Output = Result<(), Error>> + Send;

    #[expect(async_fn_in_trait, reason = "nobody spawns it")]
    #[transactional(db = self.db())]
    async fn add_all(&self, assets: &[i64]) -> Result<usize, Error> {
        for asset in assets {
            self.add(*asset).await?;
        }
        Ok(assets.len())
    }
}

pub struct Table {
    pub db: PgDb,
}

impl Assets for Table {
    fn db(&self) -> &PgDb {
        &self.db
    }

    #[transactional(propagation = RequiresNew)]
    async fn add(&self, asset: i64) -> Result<(), Error> {
        sqlx::query("insert into asset values ($1)")
            .bind(asset)
            .execute(&self.db)
            .await?;
        Ok(())
    }
}
