//! The key is text with arguments in braces: arguments, their fields, tuples, `self`, format
//! specifications, raw names, and braces.

use tx_runtime::{Error, PgDb, transactional};

pub struct Account {
    pub id: i64,
    pub bank: (u16, String),
    pub r#type: char,
}

pub struct Accounts {
    pub db: PgDb,
    pub tenant: String,
}

impl Accounts {
    #[transactional(lock = "account:{self.tenant}:{account}")]
    pub async fn open(&self, account: i64) -> Result<(), Error> {
        sqlx::query("insert into account values ($1)")
            .bind(account)
            .execute(&self.db)
            .await?;
        Ok(())
    }

    #[transactional(lock = "{account.bank.0:04}-{account.bank.1}-{account.type}-{account.id}")]
    pub async fn close(&mut self, account: Account) -> Result<Account, Error> {
        self.tenant.clear();
        let delete = sqlx::query("delete from account where id = $1").bind(account.id);
        delete.execute(&self.db).await?;
        Ok(account)
    }
}

#[transactional(lock = "{{nightly}}")]
pub async fn nightly(db: &PgDb) -> Result<(), Error> {
    sqlx::query("insert into day default values")
        .execute(db)
        .await?;
    Ok(())
}

#[transactional(lock = "type:{type}:{r#type:?}")]
pub async fn raw(db: &PgDb, r#type: char) -> Result<(), Error> {
    sqlx::query("insert into type values ($1)")
        .bind(r#type.to_string())
        .execute(db)
        .await?;
    Ok(())
}

#[transactional(lock = "{id}:{first}:{unknown}")]
pub async fn taken_apart(
    db: &PgDb,
    Account {
        id,
        bank: (first, _),
        r#type: unknown,
    }: Account,
) -> Result<(), Error> {
    let insert = sqlx::query("insert into account values ($1, $2)").bind(id);
    insert.bind(i32::from(first)).execute(db).await?;
    println!("{unknown}");
    Ok(())
}
