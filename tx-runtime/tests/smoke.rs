//! Smoke.
#![cfg(feature = "sqlite")]
use tx_runtime::{Error, Propagation, SqliteDb, TransactionOptions};

async fn db(n: u32) -> SqliteDb {
    let dir = std::env::temp_dir().join(format!(
        "smoke-{}-{:?}.db",
        std::process::id(),
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos()
    ));
    let o = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(dir)
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let db = SqliteDb::connect_with(sqlx::pool::PoolOptions::new().max_connections(n), o)
        .await
        .unwrap();
    sqlx::query("create table t (id integer primary key)")
        .execute(db.pool())
        .await
        .unwrap();
    db
}
async fn rows(db: &SqliteDb) -> Vec<i64> {
    sqlx::query_scalar("select id from t order by id")
        .fetch_all(db.pool())
        .await
        .unwrap()
}
async fn ins(db: &SqliteDb, id: i64) -> Result<(), Error> {
    sqlx::query("insert into t values (?)")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

#[tokio::test]
async fn basic() {
    let db = db(4).await;
    db.transaction(async || {
        ins(&db, 1).await?;
        ins(&db, 2).await
    })
    .await
    .unwrap();
    assert_eq!(rows(&db).await, [1, 2]);
    let r: Result<(), Error> = db
        .transaction(async || {
            ins(&db, 3).await?;
            ins(&db, 1).await
        })
        .await;
    println!("{}", r.unwrap_err());
    assert_eq!(rows(&db).await, [1, 2]);
    let r: Result<(), Error> = db
        .transaction(async || {
            ins(&db, 3).await?;
            let _ = ins(&db, 1).await;
            Ok(())
        })
        .await;
    println!("{}", r.unwrap_err());
    // nested
    let nested = TransactionOptions::new().propagation(Propagation::Nested);
    let r: Result<(), Error> = db
        .transaction(async || {
            ins(&db, 3).await?;
            let e: Result<(), Error> = db
                .transaction_with(nested, async || {
                    ins(&db, 4).await?;
                    ins(&db, 1).await
                })
                .await;
            println!("{}", e.unwrap_err());
            db.savepoint(async || ins(&db, 5).await).await?;
            Ok(())
        })
        .await;
    r.unwrap();
    assert_eq!(rows(&db).await, [1, 2, 3, 5]);
    // stream with statements inside
    use futures_util::StreamExt;
    let r: Result<(), Error> = db
        .transaction(async || {
            let mut s = sqlx::query_scalar::<_, i64>("select id from t order by id").fetch(&db);
            let mut got = vec![];
            while let Some(id) = s.next().await {
                let id = id?;
                got.push(id);
                ins(&db, id + 100).await?;
            }
            drop(s);
            assert_eq!(got, [1, 2, 3, 5]);
            Ok(())
        })
        .await;
    r.unwrap();
    // new in tx
    let new = TransactionOptions::new().propagation(Propagation::RequiresNew);
    let r: Result<(), Error> = db
        .transaction(async || {
            ins(&db, 7).await?;
            db.transaction_with(new, async || ins(&db, 8).await).await
        })
        .await;
    println!("{}", r.unwrap_err());
    let r = ins(&db, 1).await;
    println!("{}", r.unwrap_err());
    assert_eq!(rows(&db).await.len(), 8);
    db.drain().await;
}
