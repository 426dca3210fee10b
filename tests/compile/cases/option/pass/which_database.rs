//! The default is `self.db` or the parameter `db`; any expression that leads to a `Db` can stand in
//! for it, behind references, `Arc` and `Box`.

use std::sync::{Arc, Mutex};

use tx_runtime::{Error, PgDb, transactional};

pub struct State {
    pool: Arc<PgDb>,
    tenants: Mutex<Vec<PgDb>>,
}

impl State {
    #[transactional(db = self.pool)]
    pub async fn add(&self) -> Result<(), Error> {
        sqlx::query("insert into asset default values")
            .execute(&*self.pool)
            .await?;
        Ok(())
    }

    /// The guard is gone before the body runs, so the future stays `Send`.
    #[transactional(db = self.tenants.lock().expect("no panic")[tenant])]
    pub async fn add_for(&self, tenant: usize) -> Result<(), Error> {
        Ok(())
    }
}

#[transactional(db = state.pool)]
pub async fn remove(state: &State, asset: i64) -> Result<(), Error> {
    let delete = sqlx::query("delete from asset where id = $1").bind(asset);
    delete.execute(&*state.pool).await?;
    Ok(())
}

pub fn is_send(state: &State) -> impl Future<Output = Result<(), Error>> + Send {
    state.add_for(3)
}
