//! Five hundred who wait for one key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{MySql, Postgres};
use tokio::time::sleep;
use tx_runtime::{Error, Lock, TicketLocks};
use tx_tests::{Backend, Bed, Shape};

use crate::setup::states;

const CROWD: usize = 500;

/// How long the crowd is watched.
const WATCH: Duration = Duration::from_secs(6);

async fn crowd<B: Backend>() {
    let Some((bed, proxy)) = Bed::<B>::proxied(4, Shape::WHOLE).await else {
        return;
    };
    let bed = Arc::new(bed);
    let tickets = TicketLocks::new(&bed.db);
    tickets.create_tables().await.unwrap();
    let lock = Lock::key("k").on(&tickets).wait(Duration::from_mins(2));
    let held = bed.db.lock(lock.clone()).await.unwrap();
    let waiting = (0..CROWD).map(|_| {
        let (bed, lock) = (Arc::clone(&bed), lock.clone());
        tokio::spawn(async move { bed.db.locked(lock, async || Ok::<_, Error>(())).await })
    });
    let waiting: Vec<_> = waiting.collect();
    while states(&bed).await.len() < CROWD + 1 {
        sleep(Duration::from_millis(20)).await;
    }
    if B::LABEL == "postgres" {
        // Sessions tell what they have counted when they are busy, or else ten seconds later.
        sleep(Duration::from_secs(11)).await;
    }
    let before = transactions(&bed).await;
    proxy.clear();
    let watched = Instant::now();
    let (mut looks, mut busy) = (0, 0);
    while watched.elapsed() < WATCH {
        looks += 1;
        // The control connection is not one of the pool's.
        let pool = bed.db.pool();
        busy += usize::from(pool.size() as usize != pool.num_idle());
        sleep(Duration::from_millis(10)).await;
    }
    let seconds = watched.elapsed().as_secs_f64();
    let looked = proxy
        .log()
        .iter()
        .filter(|(_, sql)| sql.contains("tx_ticket"))
        .count();
    let counted = transactions(&bed).await.zip(before);
    let counted = counted.map_or_else(
        || "the server does not count by database".to_owned(),
        // The question itself is one.
        |(after, before)| {
            format!(
                "{:.1} transactions/s by the server's count",
                f64::from(after - before - 1) / seconds
            )
        },
    );
    let messages = proxy.round_trips();
    eprintln!(
        "{}: {CROWD} waiters: {:.1} questions/s, {:.1} round trips/s, {counted}; a connection was out at {busy} of {looks} looks",
        B::LABEL,
        f64::from(u32::try_from(looked).unwrap()) / seconds,
        f64::from(u32::try_from(messages).unwrap()) / seconds,
    );
    // One a second, and a heartbeat every ten.
    let most = seconds + 2.0;
    assert!(
        f64::from(u32::try_from(looked).unwrap()) <= most,
        "{looked} questions"
    );
    assert!(looked > 0, "nobody asks");
    // One that is kept is out at every look; one that asks is out for longer on a busy machine.
    assert!(busy * 2 < looks, "connections are kept: {busy} of {looks}");
    assert!(
        states(&bed).await[1..]
            .iter()
            .all(|state| state == "WAITING")
    );

    let released = Instant::now();
    held.release().await.unwrap();
    for waiter in waiting {
        waiter.await.unwrap().unwrap();
    }
    eprintln!("{}: all served after {:?}", B::LABEL, released.elapsed());
    let starts = bed
        .control_ints("select id from tx_ticket order by token")
        .await;
    assert!(starts.is_sorted(), "not in the order of asking");
    bed.assert_clean().await;
    if let Some(bed) = Arc::into_inner(bed) {
        bed.finish().await;
    }
}

/// How many transactions the database has seen, where the server counts them by database.
async fn transactions<B: Backend>(bed: &Bed<B>) -> Option<i32> {
    if B::LABEL != "postgres" {
        return None;
    }
    let sql = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()";
    let count = bed.control_ints(sql).await;
    i32::try_from(count[0]).ok()
}

fn block_on(crowd: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(crowd);
}

#[test]
fn postgres() {
    block_on(crowd::<Postgres>());
}

#[test]
fn mysql() {
    block_on(crowd::<MySql>());
}
