//! Several keys are taken sorted and each once; the wait is bounded; any provider will do.

use std::sync::Arc;

use tx_runtime::{Error, LocalLocks, LockProvider, PgDb, transactional};

pub struct Accounts {
    pub db: PgDb,
    pub locks: LocalLocks,
    pub shared: Arc<dyn LockProvider>,
}

impl Accounts {
    #[transactional(lock(keys = ["account:{from}", "account:{to}"], wait = "2s", on = self.locks))]
    pub async fn transfer(&mut self, from: i64, to: i64) -> Result<(), Error> {
        let insert = sqlx::query("insert into transfer values ($1, $2)");
        insert.bind(from).bind(to).execute(&self.db).await?;
        self.locks = LocalLocks::new();
        Ok(())
    }

    #[transactional(propagation = Isolated, lock(key = "nightly", try, on = self.shared))]
    pub async fn nightly(&self) -> Result<(), Error> {
        sqlx::query("insert into day default values")
            .execute(&self.db)
            .await?;
        Ok(())
    }
}
