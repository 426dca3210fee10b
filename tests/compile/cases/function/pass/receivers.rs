//! Every form of `self`.

use std::pin::Pin;
use std::sync::Arc;

use tx_runtime::{Error, PgDb, transactional};

pub struct Assets {
    pub db: PgDb,
    pub added: u32,
}

impl Assets {
    #[transactional]
    pub async fn by_reference(&self) -> Result<u32, Error> {
        Ok(self.added)
    }

    #[transactional]
    pub async fn mutably(&mut self) -> Result<u32, Error> {
        self.added += 1;
        sqlx::query("insert into asset default values")
            .execute(&self.db)
            .await?;
        self.added += 1;
        Ok(self.added)
    }

    #[transactional]
    pub async fn consuming(self) -> Result<PgDb, Error> {
        Ok(self.db)
    }

    #[transactional]
    pub async fn consuming_mutably(mut self) -> Result<Self, Error> {
        self.added += 1;
        Ok(self)
    }

    #[transactional]
    pub async fn shared(self: Arc<Self>) -> Result<Arc<Self>, Error> {
        Ok(self)
    }

    #[transactional]
    pub async fn by_reference_to_shared(self: &Arc<Self>) -> Result<Arc<Self>, Error> {
        Ok(Arc::clone(self))
    }

    #[transactional]
    pub async fn boxed(self: Box<Self>) -> Result<Self, Error> {
        Ok(*self)
    }

    #[transactional]
    pub async fn pinned(self: Pin<&mut Self>) -> Result<u32, Error> {
        Ok(self.added)
    }
}
