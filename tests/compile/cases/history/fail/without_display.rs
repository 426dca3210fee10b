// The history shows the actor as text.
// Fix: name a field that has `Display`, such as `user.id`.
use tx_runtime::{Error, PgDb, transactional};

struct User {
    id: i64,
}

#[transactional(history(actor = user))]
async fn add(db: &PgDb, user: User) -> Result<(), Error> {
    sqlx::query("insert into asset values ($1)").bind(user.id).execute(db).await?;
    Ok(())
}

fn main() {}
