//! Types, constants, lifetimes and where clauses stay as they are; over any database as well.

use std::fmt::Display;

use tx_runtime::{Db, Dialect, Error, PgDb, transactional};

#[transactional]
pub async fn add<T, const N: usize>(db: &PgDb, assets: [T; N]) -> Result<usize, Error>
where
    T: Display + Send + Sync,
{
    for asset in &assets {
        let insert = sqlx::query("insert into asset values ($1)").bind(asset.to_string());
        insert.execute(db).await?;
    }
    Ok(N)
}

#[transactional]
pub async fn longest<'a>(db: &PgDb, one: &'a str, other: &'a str) -> Result<&'a str, Error> {
    sqlx::query("select 1").execute(db).await?;
    Ok(if one.len() < other.len() { other } else { one })
}

#[transactional(lock = "{name}")]
pub async fn on_any_database<DB: Dialect>(db: &Db<DB>, name: &str) -> Result<bool, Error> {
    Ok(db.is_in_transaction() && !name.is_empty())
}

pub struct Repository<'a, T> {
    pub db: &'a PgDb,
    pub rows: Vec<T>,
}

impl<'a, T: Clone + Send + Sync> Repository<'a, T> {
    #[transactional]
    pub async fn first<'s>(&'s self) -> Result<Option<&'s T>, Error>
    where
        'a: 's,
    {
        sqlx::query("select 1").execute(self.db).await?;
        Ok(self.rows.first())
    }
}
