// What stands in a key is written with `Display`.
// Fix: name a field that has it, such as `{order.id}`.
use tx_runtime::{Error, PgDb, transactional};

struct Order {
    id: i64,
}

#[transactional(lock = "order:{order}")]
async fn pay(db: &PgDb, order: Order) -> Result<(), Error> {
    sqlx::query("insert into payment values ($1)").bind(order.id).execute(db).await?;
    Ok(())
}

fn main() {}
