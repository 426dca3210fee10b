//! Every attempt has the arguments as the caller gave them: what is handed over by value is cloned,
//! what is borrowed is borrowed again.

use tx_runtime::{Error, PgDb, transactional};

/// Not `Clone`.
pub struct Form {
    pub amount: i64,
}

pub struct Accounts {
    pub db: PgDb,
    pub booked: Vec<i64>,
}

impl Accounts {
    #[transactional(isolation = Serializable, retry(attempts = 5, backoff = "10ms..1s"))]
    pub async fn transfer(
        &mut self,
        form: &Form,
        mut from: Vec<i64>,
        (to, ref fee): (i64, i64),
        notes: &mut Vec<String>,
    ) -> Result<usize, Error> {
        let last = from.pop().unwrap_or_default();
        let update = sqlx::query("update account set balance = balance + $1 where id = $2");
        update
            .bind(form.amount - fee)
            .bind(to + last)
            .execute(&self.db)
            .await?;
        self.booked.push(form.amount);
        notes.push(format!("{to}"));
        drop(from);
        Ok(notes.len())
    }
}

#[transactional(retry(attempts = 3, idempotent), lock = "account:{account}", propagation = RequiresNew)]
pub async fn close(db: &PgDb, account: String) -> Result<String, Error> {
    sqlx::query("delete from account where id = $1")
        .bind(&account)
        .execute(db)
        .await?;
    Ok(account)
}

/// An argument that the body does not name need not be `Clone`.
#[transactional(retry(attempts = 2))]
pub async fn count(db: &PgDb, _form: Form) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from account")
        .fetch_one(db)
        .await?)
}

pub fn is_send<'a>(
    accounts: &'a mut Accounts,
    form: &'a Form,
    notes: &'a mut Vec<String>,
) -> impl Future<Output = Result<usize, Error>> + Send {
    accounts.transfer(form, vec![1], (2, 3), notes)
}

pub fn is_send_under_a_lock(db: &PgDb) -> impl Future<Output = Result<String, Error>> + Send {
    close(db, "7".to_owned())
}
