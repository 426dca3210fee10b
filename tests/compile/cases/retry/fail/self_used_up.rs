// Every attempt needs `self`. What the first one consumes, the second lacks, and `self` cannot be
// replaced by a clone behind the body's back.
// Fix: take `&self`, and clone what is consumed.
use tx_runtime::{Error, PgDb, transactional};

struct Transfer {
    db: PgDb,
    notes: Vec<String>,
}

impl Transfer {
    #[transactional(retry(attempts = 5))]
    async fn run(self) -> Result<Vec<String>, Error> {
        sqlx::query("insert into transfer default values").execute(&self.db).await?;
        Ok(self.notes)
    }
}

fn main() {}
