//! Errors that commit, errors that do not, and values that roll back. Where two rules match, the
//! more specific one decides.

use tx_runtime::{Error, PgDb, transactional};

#[derive(Debug)]
pub enum Business {
    Duplicate { id: i64 },
    Fraud,
}

#[derive(Debug)]
pub enum AssetError {
    Business(Business),
    Unchanged,
    Remote(u16),
    Database(Error),
}

impl From<Error> for AssetError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

#[transactional(
    no_rollback_for = AssetError::Business(_) | AssetError::Unchanged | AssetError::Remote(400..=499),
    rollback_for = AssetError::Business(Business::Fraud),
    rollback_if = Vec::is_empty,
)]
pub async fn add(db: &PgDb, id: i64) -> Result<Vec<i64>, AssetError> {
    let insert = sqlx::query_scalar("insert into asset values ($1) returning id").bind(id);
    let added: Vec<i64> = insert.fetch_all(db).await.map_err(Error::from)?;
    match id {
        0 => Err(AssetError::Business(Business::Fraud)),
        1 => Err(AssetError::Business(Business::Duplicate { id })),
        2 => Err(AssetError::Unchanged),
        3 => Err(AssetError::Remote(404)),
        _ => Ok(added),
    }
}

#[transactional(rollback_for = AssetError::Business(_), no_rollback_for = AssetError::Business(Business::Fraud), rollback_if = |count| *count == 0)]
pub async fn remove(db: &PgDb, id: i64) -> Result<u64, AssetError> {
    let delete = sqlx::query("delete from asset where id = $1").bind(id);
    Ok(delete
        .execute(db)
        .await
        .map_err(Error::from)?
        .rows_affected())
}

#[transactional(no_rollback_for = _)]
pub async fn log(db: &PgDb, text: &str) -> Result<(), AssetError> {
    let insert = sqlx::query("insert into log values ($1)").bind(text);
    insert.execute(db).await.map_err(Error::from)?;
    Err(AssetError::Unchanged)
}
