// A method that is exempt has no options.
// Fix: remove `skip`, or the options.
use tx_runtime::{Error, PgDb, transactional};

struct Assets {
    db: PgDb,
}

#[transactional]
impl Assets {
    #[transactional(skip, propagation = RequiresNew)]
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("select 1").execute(&self.db).await?;
        Ok(())
    }
}

fn main() {}
