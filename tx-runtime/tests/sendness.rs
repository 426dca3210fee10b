//! Scopes run on spawned tasks: their futures are `Send` when the body's is.
#![cfg(feature = "sqlite")]
use std::sync::Arc;
use tx_runtime::{Error, Propagation, SqliteDb, transactional};

struct Service {
    db: SqliteDb,
    count: u32,
}
impl Service {
    #[transactional]
    async fn outer(&mut self, text: &str) -> Result<usize, Error> {
        self.count += 1;
        sqlx::query("insert into t values (?)")
            .bind(text.len() as i64)
            .execute(&self.db)
            .await?;
        self.inner(7).await?;
        Ok(text.len())
    }
    #[transactional(propagation = Nested)]
    async fn inner(&self, id: i64) -> Result<(), Error> {
        sqlx::query("insert into t values (?)")
            .bind(id)
            .execute(&self.db)
            .await?;
        Ok(())
    }
    #[transactional(propagation = Propagation::Mandatory)]
    async fn must(self: Arc<Self>) -> Result<(), Error> {
        Ok(())
    }
}
#[tokio::test(flavor = "multi_thread")]
async fn spawned() {
    let db = SqliteDb::connect("sqlite::memory:").await.unwrap();
    sqlx::query("create table t (id integer)")
        .execute(db.pool())
        .await
        .unwrap();
    let other = db.clone();
    tokio::spawn(async move {
        let mut service = Service {
            db: other,
            count: 0,
        };
        let text = String::from("hallo");
        service.outer(&text).await.unwrap();
        println!("{}", Arc::new(service).must().await.unwrap_err());
    })
    .await
    .unwrap();
    let other = db.clone();
    tokio::spawn(async move {
        let n = 5;
        other
            .transaction(async || {
                sqlx::query("insert into t values (?)")
                    .bind(n)
                    .execute(&other)
                    .await?;
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        let mut tx = other.begin().await.unwrap();
        let inner = tx.begin().await.unwrap();
        sqlx::query("insert into t values (9)")
            .execute(&inner)
            .await
            .unwrap();
        inner.commit().await.unwrap();
        tx.commit().await.unwrap();
    })
    .await
    .unwrap();
    let rows: i64 = sqlx::query_scalar("select count(*) from t")
        .fetch_one(db.pool())
        .await
        .unwrap();
    assert_eq!(rows, 4);
}
