// `skip` exempts a method from its block's attribute. Here is none.
// Fix: remove the attribute.
use tx_runtime::{Error, PgDb, transactional};

struct Assets {
    db: PgDb,
}

impl Assets {
    #[transactional(skip)]
    async fn ping(&self) -> Result<(), Error> {
        sqlx::query("select 1").execute(self.db.pool()).await?;
        Ok(())
    }
}

fn main() {}
