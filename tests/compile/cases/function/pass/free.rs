//! A free function takes its database as a parameter named `db`, in any form.

use std::sync::Arc;

use tx_runtime::{Error, PgDb, transactional};

#[transactional]
pub async fn by_reference(db: &PgDb) -> Result<(), Error> {
    sqlx::query("insert into asset default values")
        .execute(db)
        .await?;
    Ok(())
}

#[transactional]
pub async fn by_value(db: PgDb) -> Result<PgDb, Error> {
    sqlx::query("insert into asset default values")
        .execute(&db)
        .await?;
    Ok(db)
}

#[transactional]
pub async fn shared(db: Arc<PgDb>) -> Result<(), Error> {
    sqlx::query("insert into asset default values")
        .execute(&*db)
        .await?;
    Ok(())
}
