//! Who makes the changes, and why: anything that has `Display`, of arguments and of `self`, which the
//! body may still use up.

use tx_runtime::{Error, PgDb, transactional};

pub struct Accounts {
    pub db: PgDb,
    pub service: &'static str,
}

impl Accounts {
    #[transactional(history(actor = user, reason = format!("closed {account}")))]
    pub async fn close(&self, user: String, account: i64) -> Result<String, Error> {
        sqlx::query("delete from account where id = $1")
            .bind(account)
            .execute(&self.db)
            .await?;
        Ok(user)
    }

    #[transactional(propagation = RequiresNew, history(actor = self.service), retry(attempts = 3))]
    pub async fn tidy(&mut self, accounts: Vec<i64>) -> Result<usize, Error> {
        self.service = "tidied";
        Ok(accounts.iter().filter(|account| **account > 0).count())
    }
}
