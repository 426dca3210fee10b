//! A function that calls itself needs its future boxed, as without the attribute.

use tx_runtime::{Error, PgDb, transactional};

#[transactional]
pub async fn delete_tree(db: &PgDb, node: i64) -> Result<u64, Error> {
    let children = sqlx::query_scalar("select id from node where parent = $1").bind(node);
    let mut deleted = 1;
    for child in children.fetch_all(db).await? {
        deleted += Box::pin(delete_tree(db, child)).await?;
    }
    sqlx::query("delete from node where id = $1")
        .bind(node)
        .execute(db)
        .await?;
    Ok(deleted)
}
