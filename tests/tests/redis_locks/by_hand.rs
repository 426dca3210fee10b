//! The evil: a lock in Redis around a transaction, as it stands in many a code base.

use std::time::{Duration, Instant};

use redis::{Client, Script};
use tokio::time::sleep;
use tx_runtime::Db;
use tx_tests::Backend;

use crate::storm::{Course, LEASE, Update, number};

const OPEN: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// Whether it was said to be stored.
pub(crate) async fn update<B: Backend>(
    db: &Db<B>,
    redis: &Client,
    course: &Course,
    update: Update,
) -> bool {
    let mut connection = redis.get_multiplexed_async_connection().await.unwrap();
    let key = update.name();
    let owner = format!("{:?} {:?}", std::thread::current().id(), Instant::now());
    loop {
        let mut take = redis::cmd("SET");
        take.arg(&key).arg(&owner).arg("NX");
        take.arg("PX").arg(LEASE.as_millis().to_string());
        let taken: Option<String> = take.query_async(&mut connection).await.unwrap();
        if taken.is_some() {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let stored = {
        let _inside = course.enter(update);
        store(db, update).await
    };
    let open = Script::new(OPEN);
    let mut open = open.key(&key);
    let _: i64 = open
        .arg(&owner)
        .invoke_async(&mut connection)
        .await
        .unwrap();
    // The database may refuse it: SQLite does, in one transaction.
    stored.is_ok()
}

async fn store<B: Backend>(db: &Db<B>, update: Update) -> Result<(), sqlx::Error> {
    let mut transaction = db.pool().begin().await?;
    let value = number(&B::texts(B::on(&mut transaction), &update.read()).await?);
    if update.in_two {
        transaction.commit().await?;
        update.stall();
        transaction = db.pool().begin().await?;
    } else {
        update.stall();
    }
    B::exec(B::on(&mut transaction), &update.write(value + 1)).await?;
    transaction.commit().await
}
