// `None` may be a failure or an answer; the framework does not guess which.
// Fix: return `Result<Option<i64>, Error>`.
use tx_runtime::{PgDb, transactional};

#[transactional]
async fn find(db: &PgDb, asset: i64) -> Option<i64> {
    let select = sqlx::query_scalar("select id from asset where id = $1").bind(asset);
    select.fetch_optional(db).await.ok().flatten()
}

fn main() {}
