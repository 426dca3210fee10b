// The body runs again with a clone of each argument, so that every attempt has what the caller gave.
// Fix: derive `Clone`, or take `&Form`.
use tx_runtime::{Error, PgDb, transactional};

struct Form {
    amount: i64,
}

#[transactional(retry(attempts = 5))]
async fn transfer(db: &PgDb, form: Form) -> Result<(), Error> {
    sqlx::query("insert into transfer values ($1)").bind(form.amount).execute(db).await?;
    Ok(())
}

fn main() {}
