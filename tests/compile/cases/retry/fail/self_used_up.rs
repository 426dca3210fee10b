// `self` cannot be cloned behind the body's back; what the first attempt consumes, the second lacks.
// Fix: take `&self`, or clone what is consumed.
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
