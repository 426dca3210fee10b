//! The lock alone, around work that is not a transaction.

use tx_runtime::{Error, LocalLocks, PgDb, locked};

pub struct Reports {
    pub db: PgDb,
    pub locks: LocalLocks,
    pub sent: Vec<i64>,
}

impl Reports {
    #[locked(key = "report:{account}", wait = "10m", on = self.locks)]
    pub async fn send(&mut self, account: i64) -> Result<usize, Error> {
        self.sent.push(account);
        self.locks = LocalLocks::new();
        Ok(self.sent.len())
    }

    #[locked(keys = ["report:{from}", "report:{to}"], try)]
    pub async fn swap(&mut self, from: usize, to: usize) -> Result<(), Error> {
        self.sent.swap(from, to);
        Ok(())
    }
}

#[locked(key = "mail:{to}")]
pub async fn mail(db: &PgDb, to: &str) -> Result<String, Error> {
    Ok(format!("to {to} by {db:?}"))
}

#[locked(key = "cache", allow(spawn))]
pub async fn refresh(db: &PgDb) -> Result<(), Error> {
    drop(tokio::spawn(async {
        println!("the cache is being refreshed");
    }));
    println!("{db:?}");
    Ok(())
}
