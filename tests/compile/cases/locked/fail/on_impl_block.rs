// Every function has its own key.
// Fix: put `#[locked]` on the functions.
use tx_runtime::{Error, PgDb, locked};

struct Reports {
    db: PgDb,
}

#[locked(key = "reports")]
impl Reports {
    pub async fn report(&self, account: i64) -> Result<(), Error> {
        sqlx::query("insert into report values ($1)").bind(account).execute(self.db.pool()).await?;
        Ok(())
    }
}

fn main() {}
