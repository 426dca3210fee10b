// The name that errors and traces show is text.
// Fix: write `name = "assets.add"`.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(name = assets::add)]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
