// `history` is a list of options.
// Fix: write it in parentheses.
use tx_runtime::{Error, PgDb, transactional};

#[transactional(history = "ann")]
async fn add(db: &PgDb, asset: i64) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(asset).execute(db).await?;
    Ok(())
}

fn main() {}
