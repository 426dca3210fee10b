//! A body that is not `Send` is a future that is not `Send`, and no error.

use std::cell::Cell;
use std::rc::Rc;

use tx_runtime::{Error, PgDb, transactional};

#[expect(clippy::future_not_send, reason = "it runs on one thread")]
#[transactional]
pub async fn count(db: &PgDb, counter: Rc<Cell<i64>>) -> Result<i64, Error> {
    let count: i64 = sqlx::query_scalar("select count(*) from asset")
        .fetch_one(db)
        .await?;
    counter.set(count);
    Ok(count)
}
