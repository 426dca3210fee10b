// A mistake in the attribute leaves the function as it was written, so that its callers have no
// second error.
// Fix: write `read_only`.
use tx_runtime::{Error, PgDb, transactional};

struct Assets {
    db: PgDb,
}

impl Assets {
    #[transactional(readonly)]
    async fn count(&self) -> Result<i64, Error> {
        Ok(sqlx::query_scalar("select count(*) from asset").fetch_one(&self.db).await?)
    }

    #[transactional]
    async fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.count().await? == 0)
    }
}

fn main() {}
