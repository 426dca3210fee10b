//! Clients that can only be reached under their lock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tx_runtime::{Error, Guarded, LocalLocks, LockProvider, RedisLocks};
use tx_tests::{RedisServer, case};

use crate::setup::{PATIENCE, errors, silence, states, ticketed, tickets, until_states};

/// A service that allows one session at a time.
#[derive(Debug, Default)]
struct Service {
    sessions: AtomicUsize,
}

impl Service {
    async fn call(&self) {
        assert_eq!(
            self.sessions.fetch_add(1, Ordering::SeqCst),
            0,
            "two at once"
        );
        sleep(Duration::from_millis(3)).await;
        self.sessions.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn storm<P: LockProvider + Clone>(locks: &P) {
    let service = Guarded::new(Service::default(), locks, "account:7");
    let calls = (0..20).map(|n| {
        let service = &service;
        async move {
            if n % 2 == 0 {
                let done = service.with("closure", async |permit| {
                    permit.ensure_held().await?;
                    permit.client().call().await;
                    Ok::<_, Error>(())
                });
                done.await.unwrap();
            } else {
                let permit = service.permit("variable").await.unwrap();
                permit.ensure_held().await.unwrap();
                permit.client().call().await;
                permit.release().await.unwrap();
            }
        }
    });
    join_all(calls).await;
}

case! {
    one_at_a_time on sqlite, postgres, mysql; bed = ticketed::<B>();
    "whoever reaches the client is alone with it, whichever provider keeps the lock";
    async fn<B>(bed) {
        storm(&LocalLocks::new()).await;
        storm(&bed.db.database_locks()).await;
        storm(&bed.db).await;
        storm(&tickets(bed)).await;
        let states = states(bed).await;
        assert_eq!((states.len(), states.iter().all(|state| state == "DONE")), (20, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_at_a_time_by_redis() {
    let Some(redis) = RedisServer::start().await else {
        return;
    };
    let locks = RedisLocks::connect(redis.url()).await;
    storm(&locks.expect("Redis answers")).await;
}

case! {
    no_transaction on sqlite, postgres, mysql; bed = ticketed::<B>();
    "no transaction is open while the client is used, and those that are opened are under the lock";
    async fn<B>(bed) {
        let service = Guarded::new(Service::default(), &tickets(bed), "account:7");
        let done = service.with("import", async |permit| {
            assert!(!bed.db.is_in_transaction());
            assert_eq!(bed.open_transactions().await, 0);
            permit.client().call().await;
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(1).await?)).await?;
            silence(bed).await;
            bed.control("update tx_ticket set state = 'ABANDONED', ended = started").await;
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(2).await?)).await
        });
        let error = done.await.unwrap_err();
        assert!(matches!(error, Error::LockLost { .. }), "{error}");
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    lost on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a permit tells that its lock is lost: asked, and while a long call goes on";
    async fn<B>(bed) {
        let service = Guarded::new(Service::default(), &tickets(bed), "account:7");
        let permit = service.permit("import").await.unwrap();
        permit.ensure_held().await.unwrap();
        let declaring = bed.control("update tx_ticket set state = 'ABANDONED', ended = started");
        let (lost, _) = tokio::join!(timeout(PATIENCE, permit.lost()), declaring);
        assert!(matches!(lost.unwrap(), Error::LockLost { .. }));
        assert!(matches!(permit.ensure_held().await, Err(Error::LockLost { .. })));
        assert!(matches!(permit.release().await, Err(Error::LockLost { .. })));
        assert_eq!(states(bed).await, ["ABANDONED"]);
    }
}

case! {
    in_the_log on sqlite, postgres, mysql; bed = ticketed::<B>();
    "what came of a permit is in the log";
    async fn<B>(bed) {
        let service = Guarded::new(Service::default(), &tickets(bed), "account:7");
        let failing = service.with("import", async |_| Err::<(), _>(Error::Database(sqlx::Error::RowNotFound)));
        failing.await.unwrap_err();
        service.permit("by hand").await.unwrap().release_failed("status 429").await.unwrap();
        drop(service.permit("dropped").await.unwrap());
        until_states(bed, &["FAILED", "FAILED", "CANCELLED"]).await;
        assert_eq!(errors(bed).await[..2], ["Database(RowNotFound)", "status 429"]);
        let labels = bed.control_texts("select label from tx_ticket order by id").await;
        assert_eq!(labels, ["import", "by hand", "dropped"]);
    }
}
