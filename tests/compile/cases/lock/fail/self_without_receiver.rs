// A free function has no `self` to take a field of.
// Fix: name an argument.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(lock = "tenant:{self.tenant}")]
async fn add(db: &PgDb, tenant: i64) -> Result<(), Error> {
    sqlx::query("insert into tenant values ($1)").bind(tenant).execute(db).await?;
    Ok(())
}

fn main() {}
