// Fields are looked up by the compiler, which points at the key.
// Fix: write `{order.id}`.
use tx_runtime::{Error, PgDb, transactional};

struct Order {
    id: i64,
}

#[transactional(lock = "order:{order.number}")]
async fn pay(db: &PgDb, order: Order) -> Result<(), Error> {
    sqlx::query("insert into payment values ($1)").bind(order.id).execute(db).await?;
    Ok(())
}

fn main() {}
