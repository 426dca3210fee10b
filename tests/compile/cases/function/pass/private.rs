//! A private function is transactional, and so is a call through `self`: the attribute wraps the
//! body, and no proxy is in front of it.

use tx_runtime::{Error, PgDb, transactional};

pub struct Assets {
    pub db: PgDb,
}

impl Assets {
    #[transactional]
    pub async fn register(&self, asset: i64) -> Result<(), Error> {
        self.audit("register").await?;
        self.add(asset).await
    }

    #[transactional(propagation = Mandatory)]
    async fn add(&self, asset: i64) -> Result<(), Error> {
        sqlx::query("insert into asset values ($1)")
            .bind(asset)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    #[transactional(propagation = RequiresNew)]
    async fn audit(&self, text: &str) -> Result<(), Error> {
        sqlx::query("insert into audit values ($1)")
            .bind(text)
            .execute(&self.db)
            .await?;
        Ok(())
    }
}
