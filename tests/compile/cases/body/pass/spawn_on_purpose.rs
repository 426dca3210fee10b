//! Work that is meant to go on without the transaction, said so.

use tx_runtime::{Error, PgDb, transactional};

#[transactional(allow(spawn))]
pub async fn register(db: &PgDb, account: i64) -> Result<(), Error> {
    sqlx::query("insert into account values ($1)")
        .bind(account)
        .execute(db)
        .await?;
    drop(tokio::spawn(async move {
        println!("somebody registers as {account}");
    }));
    Ok(())
}

/// Not every `spawn` starts a task.
#[transactional]
pub async fn list(db: &PgDb, directory: &str) -> Result<bool, Error> {
    sqlx::query("insert into listing values ($1)")
        .bind(directory)
        .execute(db)
        .await?;
    Ok(std::process::Command::new("ls")
        .arg(directory)
        .spawn()
        .is_ok())
}
