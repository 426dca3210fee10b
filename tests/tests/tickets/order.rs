//! The line: in the order of asking, across processes, for several keys at once.

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tx_runtime::{Db, Error, Lock, TicketLocks};
use tx_tests::{Backend, Bed, case};

use crate::setup::{PATIENCE, elsewhere, k, states, ticketed, tickets};

type Served = Arc<Mutex<Vec<usize>>>;

fn waiter<B: Backend>(
    db: &Db<B>,
    lock: Lock,
    served: &Served,
    n: usize,
) -> JoinHandle<Result<(), Error>> {
    let (db, served) = (db.clone(), Arc::clone(served));
    tokio::spawn(async move {
        let done = db.locked(lock, async || {
            served.lock().unwrap().push(n);
            Ok::<_, Error>(())
        });
        done.await
    })
}

/// Waits until so many tickets have been drawn.
async fn until_drawn<B: Backend>(bed: &Bed<B>, count: usize) {
    while states(bed).await.len() < count {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

case! {
    first_come on sqlite, postgres, mysql; bed = ticketed::<B>();
    "who asks is seen at once, in the order of asking, and is served in it, whichever process asks";
    async fn<B>(bed) {
        let here = tickets(bed);
        let (db, there) = elsewhere(bed);
        let served = Served::default();
        let held = bed.db.lock(k(&here)).await.unwrap();
        let mut waiting = Vec::new();
        for n in 0..12 {
            let (db, locks) = if n % 3 == 0 { (&db, &there) } else { (&bed.db, &here) };
            waiting.push(waiter(db, k(locks).label(format!("waiter {n}")), &served, n));
            until_drawn(bed, n + 2).await;
        }
        let line = here.current("k").await.unwrap();
        let labels: Vec<&str> = line.iter().skip(1).map(|ticket| &*ticket.label).collect();
        let expected: Vec<String> = (0..12).map(|n| format!("waiter {n}")).collect();
        assert_eq!(labels, expected);
        assert!(line.windows(2).all(|pair| pair[1].waits_on == Some(pair[0].id)));
        assert!(line.iter().skip(1).all(|ticket| ticket.started.is_none() && ticket.token.is_none()));
        held.release().await.unwrap();
        for waiter in join_all(waiting).await {
            waiter.unwrap().unwrap();
        }
        assert_eq!(*served.lock().unwrap(), (0..12).collect::<Vec<_>>());
        let tokens = bed.control_ints("select token from tx_ticket order by id").await;
        assert_eq!(tokens, (1..=13).collect::<Vec<_>>());
        db.pool().close().await;
    }
}

case! {
    all_or_none on sqlite, postgres, mysql; bed = ticketed::<B>();
    "several keys are one request: none of them runs before all can, and opposite orders do not block each other";
    async fn<B>(bed) {
        let here = tickets(bed);
        let (db, there) = elsewhere(bed);
        let held = bed.db.lock(Lock::key("b").on(&here)).await.unwrap();
        let served = Served::default();
        let both = |locks: &TicketLocks<B>, keys: [&str; 2]| Lock::keys(keys).on(locks).wait(PATIENCE);
        let mut waiting = vec![waiter(&db, both(&there, ["a", "b"]), &served, 0)];
        until_drawn(bed, 3).await;
        waiting.push(waiter(&bed.db, both(&here, ["b", "a"]), &served, 1));
        until_drawn(bed, 5).await;
        waiting.push(waiter(&db, Lock::key("a").on(&there).wait(PATIENCE), &served, 2));
        until_drawn(bed, 6).await;
        assert_eq!(states(bed).await, ["RUNNING", "WAITING", "WAITING", "WAITING", "WAITING", "WAITING"]);
        held.release().await.unwrap();
        for waiter in join_all(waiting).await {
            waiter.unwrap().unwrap();
        }
        assert_eq!(*served.lock().unwrap(), [0, 1, 2]);
        assert!(states(bed).await.iter().all(|state| state == "DONE"));
        db.pool().close().await;
    }
}

case! {
    no_connection on sqlite, postgres, mysql; bed = ticketed::<B>();
    "who waits holds no connection";
    async fn<B>(bed) {
        let here = tickets(bed);
        let held = bed.db.lock(k(&here)).await.unwrap();
        let served = Served::default();
        let waiting: Vec<_> = (0..20).map(|n| waiter(&bed.db, k(&here), &served, n)).collect();
        until_drawn(bed, 21).await;
        // All of the pool's, at once.
        let pool = bed.db.pool();
        let all = join_all((0..4).map(|_| pool.acquire())).await;
        assert!(all.iter().all(Result::is_ok));
        drop(all);
        held.release().await.unwrap();
        for waiter in join_all(waiting).await {
            waiter.unwrap().unwrap();
        }
    }
}

case! {
    inside_the_one_writer on sqlite;
    bed = ticketed::<B>();
    "a ticket cannot be drawn beside a write of its own chain; the error names who wanted it";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        let scope = bed.db.transaction(async || {
            bed.insert(1).await?;
            // The first one would have to write down that there is this process as well.
            for _ in 0..2 {
                let refused = bed.db.locked(k(&tickets), async || Ok::<_, Error>(())).await;
                let text = refused.unwrap_err().to_string();
                assert!(text.starts_with("`locked` (tests/tests/tickets/order.rs:"), "{text}");
            }
            bed.insert(2).await?;
            Ok::<_, Error>(())
        });
        scope.await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}
