// The future is `Send` exactly when the body is, and the compiler names the variable.
// Fix: drop `cached` before the await, or use `Arc`.
use std::future::Future;
use std::rc::Rc;

use tx_runtime::{Error, PgDb, transactional};

#[transactional]
async fn count(db: &PgDb) -> Result<i64, Error> {
    let cached = Rc::new(1);
    let select = sqlx::query_scalar::<_, i64>("select count(*) from asset");
    Ok(select.fetch_one(db).await? + *cached)
}

fn handle(db: &PgDb) -> impl Future<Output = Result<i64, Error>> + Send {
    count(db)
}

fn main() {}
