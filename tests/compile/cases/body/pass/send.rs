//! The future is `Send` if the body is, and needs no `'static`: what is borrowed stays borrowed.

use std::collections::HashMap;

use tx_runtime::{Error, PgDb, transactional};

pub struct Cache {
    pub db: PgDb,
    pub names: HashMap<i64, String>,
}

impl Cache {
    #[transactional]
    pub async fn name<'a>(&'a mut self, id: i64, fallback: &str) -> Result<&'a str, Error> {
        let select = sqlx::query_scalar("select name from asset where id = $1").bind(id);
        let found: Option<String> = select.fetch_optional(&self.db).await?;
        let name = self.names.entry(id).or_insert_with(|| fallback.to_owned());
        if let Some(found) = found {
            *name = found;
        }
        self.check(name_length).await?;
        Ok(&self.names[&id])
    }

    #[transactional(propagation = Nested)]
    async fn check(&mut self, length: impl Fn(&str) -> usize + Send + Sync) -> Result<(), Error> {
        self.names.retain(|_, name| length(name) > 0);
        sqlx::query("select 1").execute(&self.db).await?;
        Ok(())
    }
}

fn name_length(name: &str) -> usize {
    name.len()
}

pub fn is_send<'a>(
    cache: &'a mut Cache,
    fallback: &'a str,
) -> impl Future<Output = Result<&'a str, Error>> + Send {
    cache.name(7, fallback)
}
