// `spawn_blocking` is found by its name too, wherever it is imported from.
// Fix: compute before the transaction, and hand over the result.
use tokio::task::spawn_blocking;
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn register(db: &PgDb, password: String) -> Result<(), Error> {
    let hash = spawn_blocking(move || password.len().to_string()).await.unwrap_or_default();
    sqlx::query("insert into account values ($1)").bind(hash).execute(db).await?;
    Ok(())
}

fn main() {}
