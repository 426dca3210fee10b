// A result that borrows from the body.
// Fix: return the `String`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn name(db: &PgDb) -> Result<&str, Error> {
    let name: String = sqlx::query_scalar("select name from asset").fetch_one(db).await?;
    Ok(&name)
}

fn main() {}
