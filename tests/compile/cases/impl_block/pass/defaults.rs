//! One attribute for the public async methods of a block. A method's own attribute replaces it,
//! `skip` exempts a method, and what is private or not async is left alone.

use tx_runtime::{Error, PgDb, transactional};

pub struct Assets {
    pub db: PgDb,
}

#[transactional(isolation = Serializable, lock = "asset:{asset}")]
impl Assets {
    pub const TABLE: &'static str = "asset";

    pub async fn add(&self, asset: i64) -> Result<(), Error> {
        sqlx::query("insert into asset values ($1)")
            .bind(asset)
            .execute(&self.db)
            .await?;
        self.touch(asset).await
    }

    /// Its own options, and none of the block's.
    #[transactional(propagation = RequiresNew)]
    pub async fn audit(&self, text: &str) -> Result<(), Error> {
        sqlx::query("insert into audit values ($1)")
            .bind(text)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    #[transactional(skip)]
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Ok(Self {
            db: PgDb::connect(url).await?,
        })
    }

    #[must_use]
    pub fn size(&self) -> u32 {
        self.db.pool().size()
    }

    async fn touch(&self, asset: i64) -> Result<(), Error> {
        sqlx::query("update asset set at = now() where id = $1")
            .bind(asset)
            .execute(&self.db)
            .await?;
        Ok(())
    }
}
