//! Processes that are gone, and such as only seem to be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tx_runtime::{Error, Isolation, Lock, Outcome, TransactionOptions};
use tx_tests::{Backend, Bed, case};

use crate::setup::{
    PATIENCE, elsewhere, errors, k, silence, states, ticketed, tickets, until_states,
};

/// Somebody else takes the lock over and writes.
async fn overtake<B: Backend>(bed: &Arc<Bed<B>>, id: i64) {
    let bed = Arc::clone(bed);
    // In a chain of its own.
    let overtaking = tokio::spawn(async move {
        let (db, there) = elsewhere(&bed);
        silence(&bed).await;
        let with = TransactionOptions::new().lock(k(&there));
        let sql = format!("insert into t (id) values ({id})");
        let work = db.transaction_with(with, async || {
            B::exec(&db, &sql).await?;
            Ok::<_, Error>(())
        });
        work.await.unwrap();
        db.pool().close().await;
    });
    overtaking.await.unwrap();
}

case! {
    zombie on postgres, mysql; bed = ticketed::<B>();
    "a holder that was declared dead stores nothing, at any isolation level, and is told why";
    async fn<B>(bed) {
        let levels = [None, Some(Isolation::ReadCommitted), Some(Isolation::RepeatableRead), Some(Isolation::Serializable)];
        for (id, level) in (1..).zip(levels) {
            let mine = tickets(bed);
            let mut options = TransactionOptions::new();
            if let Some(level) = level {
                options = options.isolation(level);
            }
            let zombie = bed.db.transaction_with(options.lock(k(&mine)), async || {
                bed.insert(100 + id).await?;
                overtake(bed, id).await;
                Ok::<_, Error>(())
            });
            let error = zombie.await.unwrap_err();
            assert!(matches!(&error, Error::LockLost { key, .. } if key == "k"), "{level:?}: {error}");
            assert_eq!(error.outcome(), Outcome::RolledBack);
            assert!(error.is_retryable());
        }
        assert_eq!(bed.rows().await, [1, 2, 3, 4]);
        assert_eq!(states(bed).await, ["ABANDONED", "DONE"].repeat(4));
    }
}

case! {
    zombie_in_parts on sqlite, postgres, mysql; bed = ticketed::<B>();
    "no transaction of a body whose lock was lost is stored, and what only reads is refused too";
    async fn<B>(bed) {
        let mine = tickets(bed);
        let refused = bed.db.locked(k(&mine), async || {
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(1).await?)).await?;
            overtake(bed, 2).await;
            let reading = TransactionOptions::new().read_only();
            let read = bed.db.transaction_with(reading, async || Ok::<_, Error>(bed.visible().await?));
            let error = read.await.unwrap_err();
            assert!(matches!(error, Error::LockLost { .. }), "{error}");
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(3).await?)).await
        });
        let error = refused.await.unwrap_err();
        assert!(matches!(error, Error::LockLost { .. }), "{error}");
        assert_eq!(bed.rows().await, [1, 2]);
        assert_eq!(states(bed).await, ["ABANDONED", "DONE"]);
    }
}

case! {
    slow_commit on postgres; bed = ticketed::<B>();
    "who is committing is not overtaken: its successor waits, and reads what it wrote";
    async fn<B>(bed) {
        // A COMMIT that takes its time after the ticket was set to DONE.
        bed.control_raw(
            "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return null; end $$; \
             create constraint trigger slow after insert on t deferrable initially deferred for each row when (new.id = 1) execute function slow()"
        ).await;
        let mine = tickets(bed);
        let slow = bed.db.transaction_with(TransactionOptions::new().lock(k(&mine)), async || {
            bed.insert(1).await?;
            Ok::<_, Error>(())
        });
        let overtaking = async {
            let sleeping = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
            while bed.control_ints(sleeping).await != [1] {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(states(bed).await, ["RUNNING"]);
            overtake(bed, 2).await;
        };
        let (slow, ()) = tokio::join!(slow, overtaking);
        slow.unwrap();
        assert_eq!(states(bed).await, ["DONE", "DONE"]);
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    taken_over on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a lock whose process is gone is had within its lease, and so is the place of those who waited there";
    async fn<B>(bed) {
        let lease = Duration::from_millis(400);
        let runtime = std::thread::spawn({
            let bed = Arc::clone(bed);
            move || {
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
                runtime.block_on(async {
                    let (db, there) = elsewhere(&bed);
                    let there = there.lease(lease);
                    let held = db.lock(k(&there)).await.unwrap();
                    std::mem::forget(held);
                    let waiting = tokio::spawn(async move {
                        let waiting = db.locked(k(&there), async || Ok::<_, Error>(()));
                        waiting.await
                    });
                    until_states(&bed, &["RUNNING", "WAITING"]).await;
                    std::mem::forget(waiting);
                });
                // The process ends.
                runtime.shutdown_background();
            }
        });
        tokio::task::spawn_blocking(|| runtime.join()).await.unwrap().unwrap();
        let gone = Instant::now();
        let mine = tickets(bed);
        bed.db.locked(k(&mine), async || {
            assert_eq!(states(bed).await, ["ABANDONED", "ABANDONED", "RUNNING"]);
            Ok::<_, Error>(())
        }).await.unwrap();
        // By its own lease, of half a minute, it would have been patient for longer.
        assert!(gone.elapsed() < Duration::from_secs(15), "{:?}", gone.elapsed());
        assert_eq!(bed.control_ints("select token from tx_ticket where state = 'DONE'").await, [2]);
    }
}

/// Whether one who holds and one who waits keep their tickets for five leases.
async fn keep_for_five<B: Backend>(bed: &Arc<Bed<B>>, lease: Duration) -> bool {
    bed.control("delete from tx_ticket").await;
    let mine = tickets(bed).lease(lease);
    let (db, there) = elsewhere(bed);
    let there = there.lease(lease);
    let held = bed.db.lock(k(&mine)).await.unwrap();
    let waiting = db.locked(k(&there), async || Ok::<_, Error>(()));
    let checking = async {
        let until = Instant::now() + 5 * lease;
        let mut kept = true;
        while kept && Instant::now() < until {
            kept = match &*states(bed).await {
                [first] => first == "RUNNING",
                [first, second] => first == "RUNNING" && second == "WAITING",
                _ => false,
            };
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        kept && held.release().await.is_ok()
    };
    let (waited, kept) = tokio::join!(waiting, checking);
    db.pool().close().await;
    kept && waited.is_ok() && states(bed).await == ["DONE", "DONE"]
}

case! {
    kept_alive on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a holder that is alive keeps its lock for many leases, and so do those who wait";
    async fn<B>(bed) {
        // Who stands still for longer than a lease has lost it; a busy machine stands still, but not
        // for every lease. Whoever says nothing loses each of them; whether a single heartbeat is
        // missing is seen in `heartbeat`.
        for lease in [300, 1_000, 5_000] {
            if keep_for_five(bed, Duration::from_millis(lease)).await {
                return;
            }
        }
        panic!("no lease was kept: {:?}", states(bed).await);
    }
}

case! {
    given_up_waiter on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a waiting process that was declared dead asks anew, behind all others";
    async fn<B>(bed) {
        let mine = tickets(bed);
        let (db, there) = elsewhere(bed);
        let held = bed.db.lock(k(&mine)).await.unwrap();
        let waiting = db.locked(k(&there), async || Ok::<_, Error>(()));
        let declaring = async {
            until_states(bed, &["RUNNING", "WAITING"]).await;
            bed.control("update tx_ticket set state = 'ABANDONED', ended = requested where state = 'WAITING'").await;
            until_states(bed, &["RUNNING", "ABANDONED", "WAITING"]).await;
            held.release().await
        };
        let (waited, released) = tokio::join!(waiting, declaring);
        waited.unwrap();
        released.unwrap();
        assert_eq!(states(bed).await, ["DONE", "ABANDONED", "DONE"]);
        db.pool().close().await;
    }
}

case! {
    killed_before_commit on postgres, mysql; bed = ticketed::<B>();
    "a connection that ends before COMMIT leaves no DONE";
    async fn<B>(bed) {
        let mine = tickets(bed).lease(Duration::from_millis(300));
        let with = TransactionOptions::new().lock(k(&mine));
        let killed = bed.db.transaction_with(with, async || {
            bed.insert(1).await?;
            let pid = bed.pid().await?;
            bed.kill(pid).await;
            Ok::<_, Error>(())
        });
        killed.await.unwrap_err();
        assert!(bed.rows().await.is_empty());
        if B::TELLS_FATES {
            until_states(bed, &["FAILED"]).await;
        } else {
            // What the COMMIT came to is not known here; the ticket is neither DONE nor in the way.
            until_states(bed, &["ABANDONED"]).await;
            assert!(errors(bed).await[0].contains("unknown"));
        }
        bed.db.locked(k(&mine), async || Ok::<_, Error>(())).await.unwrap();
    }
}

case! {
    another_database on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a transaction of another database is protected by the ticket's number";
    async fn<B>(bed) {
        let mine = tickets(bed);
        // To the crate, another pool is another database.
        let (other, _) = elsewhere(bed);
        other.create_fence_table().await.unwrap();
        let insert = async |id: i64| {
            let sql = format!("insert into t (id) values ({id})");
            let work = other.transaction(async || Ok::<_, Error>(B::exec(&other, &sql).await?));
            work.await
        };
        bed.db.locked(Lock::key("k").on(&mine), async || insert(1).await).await.unwrap();
        assert_eq!(bed.control_ints("select token from tx_fence").await, [1]);
        let refused = bed.db.locked(Lock::key("k").on(&mine), async || {
            overtake(bed, 2).await;
            insert(3).await
        });
        let error = refused.await.unwrap_err();
        assert!(matches!(error, Error::LockLost { .. }), "{error}");
        assert_eq!(bed.rows().await, [1, 2]);
        assert_eq!(states(bed).await, ["DONE", "ABANDONED", "DONE"]);
        other.pool().close().await;
    }
}

case! {
    anew on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a process that was declared dead asks anew at once, and not when its heart beats next";
    async fn<B>(bed) {
        // It does not beat while this test lasts.
        let mine = tickets(bed).lease(Duration::from_hours(24));
        let held = bed.db.lock(k(&mine)).await.unwrap();
        overtake(bed, 1).await;
        let other = Lock::key("other").on(&mine).no_wait();
        let asked = tokio::time::timeout(PATIENCE, bed.db.lock(other)).await;
        let other = asked.expect("who does not wait is answered at once").unwrap();
        other.release().await.unwrap();
        let lost = held.release().await;
        assert!(matches!(lost, Err(Error::LockLost { .. })), "{lost:?}");
    }
}
