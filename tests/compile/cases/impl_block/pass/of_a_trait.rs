//! The methods of a trait are as public as the trait, so a block's attribute is for all of them
//! that are async; also together with `#[async_trait]`, above or below.

use async_trait::async_trait;
use tx_runtime::{Error, PgDb, transactional};

pub trait Add {
    fn add(&self, asset: i64) -> impl Future<Output = Result<(), Error>> + Send;
    fn count(&self) -> u32;
}

#[async_trait]
pub trait Remove {
    async fn remove(&self, asset: i64) -> Result<(), Error>;
    async fn ping(&self) -> bool;
}

pub struct Table {
    pub db: PgDb,
}

pub struct View<'a> {
    pub db: &'a PgDb,
}

#[transactional]
impl Add for Table {
    async fn add(&self, asset: i64) -> Result<(), Error> {
        sqlx::query("insert into asset values ($1)")
            .bind(asset)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    fn count(&self) -> u32 {
        self.db.pool().size()
    }
}

#[transactional]
#[async_trait]
impl Remove for Table {
    async fn remove(&self, asset: i64) -> Result<(), Error> {
        let delete = sqlx::query("delete from asset where id = $1").bind(asset);
        delete.execute(&self.db).await?;
        Ok(())
    }

    #[transactional(skip)]
    async fn ping(&self) -> bool {
        sqlx::query("select 1")
            .execute(self.db.pool())
            .await
            .is_ok()
    }
}

#[async_trait]
#[transactional(db = self.db)]
impl Remove for View<'_> {
    async fn remove(&self, asset: i64) -> Result<(), Error> {
        let delete = sqlx::query("delete from asset where id = $1").bind(asset);
        delete.execute(self.db).await?;
        Ok(())
    }

    #[transactional(skip)]
    async fn ping(&self) -> bool {
        sqlx::query("select 1")
            .execute(self.db.pool())
            .await
            .is_ok()
    }
}
