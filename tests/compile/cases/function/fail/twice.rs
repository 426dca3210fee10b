// Two attributes would be two scopes, one inside the other.
// Fix: merge the options into one attribute.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
#[transactional(isolation = Serializable)]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
