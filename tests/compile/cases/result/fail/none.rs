// Without a result, nothing says whether to commit.
// Fix: return `Result<(), Error>`.
use tx_runtime::{PgDb, transactional};

#[transactional]
async fn add(db: &PgDb, asset: i64) {
    let insert = sqlx::query("insert into asset values ($1)").bind(asset);
    insert.execute(db).await.unwrap();
}

fn main() {}
