// Also where the compiler has a fix of its own.
// Fix: remove the semicolon.
use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn count(db: &PgDb) -> Result<i64, Error> {
    let select = sqlx::query_scalar::<_, i64>("select count(*) from asset");
    select.fetch_one(db).await.map_err(Error::from);
}

fn main() {}
