//! Group L: locks against commit.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tx_runtime::{
    Db, Error, Isolation, LocalLocks, Lock, Propagation, TransactionOptions, transactional,
};
use tx_tests::{Backend, Bed, Lay, Proxy, case, poll_n};

use crate::lease::Leases;

const NEW: TransactionOptions = TransactionOptions::new()
    .propagation(Propagation::RequiresNew)
    .name("new");

const ISOLATED: TransactionOptions = TransactionOptions::new()
    .propagation(Propagation::Isolated)
    .name("isolated");

const JOINED: TransactionOptions = TransactionOptions::new()
    .propagation(Propagation::Mandatory)
    .name("joined");

const OUTER: TransactionOptions = TransactionOptions::new()
    .isolation(Isolation::ReadCommitted)
    .name("outer");

/// How many tasks count at once.
const TASKS: i64 = 100;

/// What a transaction still has to do after the work that needs the lock.
const AFTERWARDS: Duration = Duration::from_millis(20);

/// How long a lock of this process stays shut after an unknown COMMIT.
const DOUBT: Duration = Duration::from_secs(30);

fn on_purpose() -> Error {
    Error::Database(sqlx::Error::Protocol("on purpose".to_owned()))
}

/// The provider that a `Db` has by itself, and locks of this process.
fn providers(key: &str) -> [Lock; 2] {
    let local = LocalLocks::new();
    [Lock::key(key), Lock::key(key).on(&local)]
}

/// Whether another chain could have the lock this moment.
async fn is_open<B: Backend>(bed: &Arc<Bed<B>>, lock: &Lock) -> bool {
    let (bed, lock) = (Arc::clone(bed), lock.clone().no_wait());
    let other = tokio::spawn(async move {
        let nothing = async || Ok::<_, Error>(());
        bed.db.locked(lock, nothing).await
    });
    match other.await.expect("it does not panic") {
        Ok(()) => true,
        Err(Error::LockTimeout { .. }) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// Waits until another chain can have the lock, and takes it for a moment.
async fn opens<B: Backend>(bed: &Arc<Bed<B>>, lock: &Lock) {
    let (bed, lock) = (Arc::clone(bed), lock.clone());
    let other = tokio::spawn(async move { bed.db.locked(lock, async || Ok::<_, Error>(())).await });
    other.await.expect("it does not panic").unwrap();
}

// ----- counting: right only if each sees what the one before has stored ---------------------

async fn start_counting<B: Backend>(bed: &Bed<B>) {
    bed.control("delete from t").await;
    bed.control("insert into t (id, v) values (1, '0')").await;
}

async fn counted<B: Backend>(bed: &Bed<B>) -> i64 {
    let stored = bed.control_texts("select v from t where id = 1").await;
    stored[0].parse().expect("a number")
}

/// Reads the counter and writes the next number.
async fn count<B: Backend>(db: &Db<B>) -> Result<(), Error> {
    let seen = B::texts(db, "select v from t where id = 1").await?;
    Ok(B::exec(db, &next_number(&seen)).await.map(drop)?)
}

fn next_number(seen: &[String]) -> String {
    let seen: i64 = seen[0].parse().expect("a number");
    format!("update t set v = '{}' where id = 1", seen + 1)
}

case! {
    l_01 on sqlite, postgres, mysql;
    "a hundred tasks that count under a lock, each in its own transaction, lose nothing";
    async fn<B>(bed) {
        for lock in providers("counter") {
            start_counting(bed).await;
            let mut tasks = JoinSet::new();
            for task in 0..TASKS {
                let (bed, lock) = (Arc::clone(bed), lock.clone());
                tasks.spawn(async move {
                    let db = &bed.db;
                    if task % 2 == 0 {
                        return db.transaction_with(NEW.lock(lock), async || count(db).await).await;
                    }
                    let body = async || db.transaction_with(NEW, async || count(db).await).await;
                    db.locked(lock, body).await
                });
            }
            for result in tasks.join_all().await {
                result.unwrap();
            }
            assert_eq!(counted(bed).await, TASKS);
        }
    }
}

case! {
    l_02 on postgres, mysql;
    "the evil: the lock opens when the work is done, the transaction around it commits later";
    async fn<B>(bed) {
        // Who reads in between is chance.
        for _ in 0..20 {
            if loses_by_an_early_lock(bed).await {
                return;
            }
        }
        panic!("nothing was lost, so L-01 shows nothing");
    }
}

/// Whether the lock that opens before the transaction ends has lost a number.
async fn loses_by_an_early_lock<B: Backend>(bed: &Arc<Bed<B>>) -> bool {
    start_counting(bed).await;
    let lock = Arc::new(Mutex::new(()));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS / 5 {
        let (bed, lock) = (Arc::clone(bed), Arc::clone(&lock));
        tasks.spawn(async move {
            let mut transaction = bed.db.pool().begin().await?;
            let held = lock.lock().await;
            let seen = B::texts(B::on(&mut transaction), "select v from t where id = 1").await?;
            B::exec(B::on(&mut transaction), &next_number(&seen)).await?;
            drop(held);
            sleep(AFTERWARDS).await;
            transaction.commit().await
        });
    }
    let counters = tasks.join_all().await;
    let stored = counters.iter().filter(|result| result.is_ok()).count();
    let stored = i64::try_from(stored).expect("few");
    counted(bed).await < stored
}

case! {
    l_03 on sqlite, postgres, mysql;
    "a lock taken inside a transaction that ends later stays shut until it has ended";
    async fn<B>(bed) {
        for lock in providers("counter") {
            start_counting(bed).await;
            let mut tasks = JoinSet::new();
            for _ in 0..TASKS / 5 {
                let (bed, lock) = (Arc::clone(bed), lock.clone());
                tasks.spawn(async move {
                    let db = &bed.db;
                    db.transaction(async || {
                        db.transaction_with(JOINED.lock(lock), async || count(db).await).await?;
                        sleep(AFTERWARDS).await;
                        Ok::<_, Error>(())
                    }).await
                });
            }
            for result in tasks.join_all().await {
                result.unwrap();
            }
            assert_eq!(counted(bed).await, TASKS / 5);
        }
    }
}

// ----- the order -----------------------------------------------------------------------

/// Where each of `wanted` stands in the log, in that order.
fn in_order(log: &[(usize, String)], wanted: &[&str]) -> bool {
    let mut messages = log.iter().map(|(_, message)| message.to_ascii_lowercase());
    wanted
        .iter()
        .all(|part| messages.any(|message| message.contains(part)))
}

/// What takes and opens a lock of the server's session, as it stands on the wire.
fn session_words<B: Backend>() -> [&'static str; 2] {
    match B::LABEL {
        "postgres" => ["pg_advisory_lock", "pg_advisory_unlock"],
        _ => ["get_lock", "release_lock"],
    }
}

case! {
    l_03_variable on sqlite, postgres, mysql;
    "a lock in a variable stays shut until the transaction has ended whose statements ran beside it";
    async fn<B>(bed) {
        for lock in providers("k") {
            for fails in [false, true] {
                for dropped in [false, true] {
                    let ended = bed.db.transaction_with(OUTER, async || {
                        let held = bed.db.lock(lock.clone()).await?;
                        let part = async || Ok::<_, Error>(bed.insert(1).await?);
                        bed.db.transaction_with(JOINED, part).await?;
                        if dropped {
                            drop(held);
                        } else {
                            held.release().await?;
                        }
                        assert!(!is_open(bed, &lock).await);
                        if fails { Err(on_purpose()) } else { Ok(()) }
                    });
                    assert_eq!(ended.await.is_err(), fails);
                    opens(bed, &lock).await;
                    assert_eq!(bed.rows().await.is_empty(), fails);
                    bed.control("delete from t").await;
                }
            }
            // What ran before it, or in a transaction of its own, does not keep it.
            bed.db.transaction_with(OUTER, async || {
                let held = bed.db.lock(lock.clone()).await?;
                let alone = async || Ok::<_, Error>(bed.insert(1).await?);
                bed.db.transaction_with(ISOLATED, alone).await?;
                held.release().await?;
                assert!(is_open(bed, &lock).await);
                bed.insert(2).await?;
                bed.db.lock(lock.clone()).await?.release().await?;
                assert!(is_open(bed, &lock).await);
                Ok::<_, Error>(())
            }).await.unwrap();
            assert_eq!(bed.rows().await, [1, 2]);
            bed.control("delete from t").await;
        }
    }
}

case! {
    l_04 on postgres, mysql;
    "the lock is had before BEGIN and opens after COMMIT has been answered";
    async fn<B>(bed, proxy) {
        let [take, open] = session_words::<B>();
        let db = &bed.db;
        let write = async |id| Ok::<_, Error>(bed.insert(id).await?);
        // A lock of its own, around the transaction.
        let trap = proxy.hold_after("COMMIT");
        let lock = Lock::key("k");
        let mut around = Box::pin(db.locked("k", async || db.transaction(async || write(1).await).await));
        tokio::select! {
            done = &mut around => panic!("COMMIT is not answered: {done:?}"),
            () = trap.sprung() => {}
        }
        // The server has committed, but nobody here knows.
        assert_eq!(bed.rows().await, [1]);
        assert!(!is_open(bed, &lock).await);
        assert_eq!(bed.lock_holders("k").await.len(), 1);
        trap.release();
        around.await.unwrap();
        assert!(bed.lock_holders("k").await.is_empty());
        let log = proxy.executed();
        assert!(in_order(&log, &[take, "begin", "insert", "commit", open])
            || in_order(&log, &[take, "start transaction", "insert", "commit", open]), "{log:#?}");
        proxy.clear();
        // On the connection of the transaction: the server itself keeps the order.
        db.transaction_with(OUTER.lock("k"), async || write(2).await).await.unwrap();
        let log = proxy.executed();
        let first = log.iter().map(|(_, message)| message.to_ascii_lowercase()).find(|message| message.contains("_lock("));
        assert!(first.is_some(), "{log:#?}");
        let last = log.last().map(|(_, message)| message.to_ascii_lowercase()).unwrap_or_default();
        let (committed, opened) = (last.find("commit"), last.find(open));
        assert!(committed.is_some() && opened.is_none_or(|at| Some(at) > committed), "{log:#?}");
        // In the process: COMMIT is kept from the server.
        let lock = Lock::key("k").on(&LocalLocks::new());
        let trap = proxy.hold_before("COMMIT");
        let mut around = Box::pin(db.transaction_with(NEW.lock(lock.clone()), async || write(3).await));
        tokio::select! {
            done = &mut around => panic!("COMMIT is not answered: {done:?}"),
            () = trap.sprung() => {}
        }
        assert!(!is_open(bed, &lock).await);
        trap.release();
        around.await.unwrap();
        assert!(is_open(bed, &lock).await);
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

case! {
    l_05 on sqlite, postgres, mysql;
    "an Isolated scope is stored and its lock open although the transaction around it fails";
    async fn<B>(bed) {
        for (id, lock) in [10, 20].into_iter().zip(providers("k")) {
            let outer = bed.db.transaction(async || {
                if B::SERVER {
                    bed.insert(id).await?;
                }
                bed.db.transaction_with(ISOLATED.lock(lock.clone()), async || {
                    Ok::<_, Error>(bed.insert(id + 1).await?)
                }).await?;
                assert!(bed.rows().await.contains(&(id + 1)));
                assert!(is_open(bed, &lock).await);
                bed.insert(id + 2).await?;
                Err::<(), _>(on_purpose())
            });
            outer.await.unwrap_err();
        }
        assert_eq!(bed.rows().await, [11, 21]);
    }
}

/// Every way for a lock and a transaction to stand to each other.
async fn under_lock<B: Backend>(
    way: usize,
    db: &Db<B>,
    lock: Lock,
    body: impl AsyncFnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    match way {
        0 => db.locked(lock, async || db.transaction(body).await).await,
        1 => db.transaction_with(OUTER.lock(lock), body).await,
        2 => {
            let joined = async || db.transaction_with(JOINED.lock(lock), body).await;
            db.transaction_with(OUTER, joined).await
        }
        _ => {
            let held = db.lock(lock).await?;
            let tx = held.begin().await?;
            match tx.within(body).await {
                Ok(()) => tx.commit().await?,
                Err(error) => {
                    tx.rollback().await?;
                    return Err(error);
                }
            }
            held.release().await
        }
    }
}

const WAYS: std::ops::Range<usize> = 0..4;

case! {
    l_06 on postgres, mysql;
    "after an error the lock opens when ROLLBACK has been answered, and not before";
    async fn<B>(bed, proxy) {
        for way in WAYS {
            for lock in providers("k") {
                let trap = proxy.hold_before("ROLLBACK");
                let mut failing = Box::pin(under_lock(way, &bed.db, lock.clone(), async || {
                    bed.insert(1).await?;
                    Err(on_purpose())
                }));
                tokio::select! {
                    done = &mut failing => panic!("{way}: ROLLBACK is not answered: {done:?}"),
                    () = trap.sprung() => {}
                }
                assert!(!is_open(bed, &lock).await, "{way}");
                trap.release();
                failing.await.unwrap_err();
                opens(bed, &lock).await;
            }
        }
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    l_06_on_one_writer on sqlite;
    "after an error the next holder reads nothing of what was rolled back";
    async fn<B>(bed) {
        for way in WAYS {
            for lock in providers("k") {
                under_lock(way, &bed.db, lock.clone(), async || {
                    bed.insert(1).await?;
                    Err(on_purpose())
                }).await.unwrap_err();
                opens(bed, &lock).await;
                assert!(bed.rows().await.is_empty());
            }
        }
    }
}

case! {
    l_07 on postgres, mysql;
    "dropped under a lock: it opens when the rollback is certain, and not before";
    async fn<B>(bed, proxy) {
        for way in WAYS {
            for lock in providers("k") {
                let trap = proxy.hold_before("ROLLBACK");
                let (wrote, has_written) = oneshot::channel();
                let work = under_lock(way, &bed.db, lock.clone(), async || {
                    bed.insert(1).await?;
                    wrote.send(()).expect("somebody waits");
                    std::future::pending().await
                });
                tokio::select! {
                    done = work => panic!("{way}: it never ends: {done:?}"),
                    written = has_written => written.expect("it is told"),
                }
                trap.sprung().await;
                assert!(!is_open(bed, &lock).await, "{way}");
                trap.release();
                opens(bed, &lock).await;
                assert!(bed.rows().await.is_empty());
            }
        }
    }
}

case! {
    l_08 on postgres, mysql;
    "a panic under a lock: it opens when the rollback is certain, and not before";
    async fn<B>(bed, proxy) {
        for way in WAYS {
            for lock in providers("k") {
                let trap = proxy.hold_before("ROLLBACK");
                let work = under_lock(way, &bed.db, lock.clone(), async || {
                    bed.insert(1).await?;
                    std::panic::resume_unwind(Box::new("planned"))
                });
                AssertUnwindSafe(work).catch_unwind().await.unwrap_err();
                trap.sprung().await;
                assert!(!is_open(bed, &lock).await, "{way}");
                trap.release();
                opens(bed, &lock).await;
                assert!(bed.rows().await.is_empty());
            }
        }
    }
}

case! {
    l_07_on_one_writer on sqlite;
    "dropped or panicked under a lock, the next holder comes and reads nothing of it";
    async fn<B>(bed) {
        for way in WAYS {
            for lock in providers("k") {
                for panics in [false, true] {
                    let work = under_lock(way, &bed.db, lock.clone(), async || {
                        bed.insert(1).await?;
                        if panics {
                            std::panic::resume_unwind(Box::new("planned"));
                        }
                        std::future::pending().await
                    });
                    // Polls without end of a body that never ends would hang.
                    let work = AssertUnwindSafe(tokio::time::timeout(AFTERWARDS, work)).catch_unwind().await;
                    assert!(work.is_err() || work.is_ok_and(|ended| ended.is_err()));
                    opens(bed, &lock).await;
                    assert!(bed.rows().await.is_empty());
                }
            }
        }
    }
}

// ----- unknown outcomes and leases ---------------------------------------------------------

case! {
    l_09 on postgres, mysql; bed = Bed::<B>::impatient(4);
    "after a COMMIT of which nobody knows what became the lock is not opened but left to its lease or session";
    async fn<B>(bed, proxy) {
        let started = Instant::now();
        let leases = Leases::default();
        bed.db.create_fence_table().await.unwrap();
        let local = Lock::key("local").on(&LocalLocks::new());
        for (id, lock) in [(1, Lock::key("leased").on(&leases)), (2, local.clone()), (3, Lock::key("server"))] {
            proxy.cut_after("COMMIT");
            let unknown = bed.db.transaction_with(NEW.lock(lock), async || {
                bed.insert(id).await?;
                proxy.shut(true);
                Ok::<_, Error>(())
            });
            let unknown = unknown.await.unwrap_err();
            proxy.shut(false);
            assert!(matches!(unknown, Error::CommitUnknown { .. }), "{unknown:?}");
        }
        assert!(started.elapsed() < DOUBT, "it is said when it is known, not when the lock opens");
        tx_runtime::LockProvider::queue(&leases).drain().await;
        assert_eq!(leases.left(), ["leased"], "left to its lease");
        assert!(leases.is_held("leased"), "and not opened");
        assert!(!is_open(bed, &local).await, "nobody knows whether it may be open");
        // The session was closed with its connection, and the server knows the outcome.
        opens(bed, &Lock::key("server")).await;
        assert!(bed.lock_holders("server").await.is_empty());
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

case! {
    l_09_resolved on postgres;
    "after a COMMIT whose fate the server has told the lock opens at once";
    async fn<B>(bed, proxy) {
        let leases = Leases::default();
        bed.db.create_fence_table().await.unwrap();
        let locks = [Lock::key("leased").on(&leases), Lock::key("local").on(&LocalLocks::new()), Lock::key("server")];
        for (id, lock) in (1..).zip(locks) {
            for lay in [Proxy::cut_before as Lay, Proxy::cut_after] {
                let trap = lay(proxy, "COMMIT");
                let told = bed.db.transaction_with(NEW.lock(lock.clone()), async || {
                    Ok::<_, Error>(bed.insert(id).await?)
                });
                let told = told.await;
                assert!(trap.has_sprung());
                assert_eq!(bed.rows().await.contains(&id), told.is_ok());
                assert!(is_open(bed, &lock).await, "{id}: {told:?}");
            }
        }
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

case! {
    l_10 on sqlite, postgres, mysql;
    "a lease that has ended before COMMIT is LockLost, and nothing is stored";
    async fn<B>(bed) {
        let leases = Leases::default();
        bed.db.create_fence_table().await.unwrap();
        for way in WAYS {
            let lost = under_lock(way, &bed.db, Lock::key("k").on(&leases), async || {
                bed.insert(1).await?;
                leases.expire("k");
                Ok(())
            });
            let lost = lost.await.unwrap_err();
            assert!(matches!(lost, Error::LockLost { .. }), "{way}: {lost:?}");
            assert!(lost.is_retryable());
            assert!(bed.rows().await.is_empty(), "{way}");
        }
    }
}

case! {
    l_10_variable on sqlite, postgres, mysql;
    "so is one in a variable, for the transaction whose statements ran beside it";
    async fn<B>(bed) {
        let leases = Leases::default();
        bed.db.create_fence_table().await.unwrap();
        let lost = bed.db.transaction(async || {
            let held = bed.db.lock(Lock::key("k").on(&leases)).await?;
            bed.insert(1).await?;
            leases.expire("k");
            held.release().await
        });
        let lost = lost.await.unwrap_err();
        assert!(matches!(lost, Error::LockLost { .. }), "{lost:?}");
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    l_11 on sqlite, postgres, mysql;
    "who begins under a lease that has gone to another is refused by the token the other has left";
    async fn<B>(bed) {
        let leases = Leases::default();
        let elsewhere = leases.elsewhere();
        bed.db.create_fence_table().await.unwrap();
        let late = bed.db.locked(Lock::key("k").on(&leases), async || {
            leases.expire("k");
            let (bed, elsewhere) = (Arc::clone(bed), elsewhere.clone());
            let writer = {
                let bed = Arc::clone(&bed);
                tokio::spawn(async move {
                    bed.db.transaction_with(NEW.lock(Lock::key("k").on(&elsewhere)), async || {
                        Ok::<_, Error>(bed.insert(1).await?)
                    }).await
                })
            };
            writer.await.expect("no panic")?;
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(2).await?)).await
        });
        let late = late.await.unwrap_err();
        assert!(matches!(late, Error::LockLost { .. }), "{late:?}");
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    l_11_behind_the_check on postgres, mysql;
    "a lease that ends between its check and COMMIT loses no update: the next holder's token waits";
    async fn<B>(bed, proxy) {
        start_counting(bed).await;
        let leases = Leases::default();
        let elsewhere = leases.elsewhere();
        bed.db.create_fence_table().await.unwrap();
        let trap = proxy.hold_before("COMMIT");
        let db = &bed.db;
        let first = async || count(db).await;
        let mut first = Box::pin(db.transaction_with(NEW.lock(Lock::key("k").on(&leases)), first));
        tokio::select! {
            done = &mut first => panic!("COMMIT is not answered: {done:?}"),
            () = trap.sprung() => {}
        }
        leases.expire("k");
        let second = {
            let bed = Arc::clone(bed);
            let lock = Lock::key("k").on(&elsewhere);
            tokio::spawn(async move {
                bed.db.transaction_with(NEW.lock(lock), async || count(&bed.db).await).await
            })
        };
        // It has the lock, and then waits for the row with the first one's token.
        let taken = async {
            while !leases.is_held("k") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), taken).await.expect("it is taken");
        trap.release();
        first.await.unwrap();
        second.await.expect("no panic").unwrap();
        assert_eq!(counted(bed).await, 2);
    }
}

// ----- the server's locks ---------------------------------------------------------------

case! {
    l_14 on postgres;
    "a lock taken inside a Required transaction is the transaction's, whatever becomes of savepoints";
    async fn<B>(bed, proxy) {
        let db = &bed.db;
        let nested = TransactionOptions::new().propagation(Propagation::Nested);
        db.transaction_with(OUTER, async || {
            bed.insert(1).await?;
            let pid = bed.pid().await?;
            db.transaction_with(JOINED.lock("joined"), async || Ok::<_, Error>(())).await?;
            db.transaction_with(nested.clone(), async || {
                bed.insert(2).await?;
                db.transaction_with(JOINED.lock("kept"), async || Ok::<_, Error>(())).await
            }).await?;
            db.transaction_with(nested.clone(), async || {
                bed.insert(3).await?;
                db.transaction_with(JOINED.lock("rolled back"), async || Ok::<_, Error>(())).await?;
                Err::<(), _>(on_purpose())
            }).await.unwrap_err();
            db.transaction_with(nested.lock("own"), async || {
                bed.insert(4).await?;
                Err::<(), _>(on_purpose())
            }).await.unwrap_err();
            for key in ["joined", "kept", "rolled back", "own"] {
                assert_eq!(bed.lock_holders(key).await, [pid], "{key}");
                assert!(!is_open(bed, &Lock::key(key)).await, "{key}");
            }
            Ok::<_, Error>(())
        }).await.unwrap();
        for key in ["joined", "kept", "rolled back", "own"] {
            assert!(bed.lock_holders(key).await.is_empty(), "{key}");
            assert!(is_open(bed, &Lock::key(key)).await, "{key}");
        }
        assert_eq!(bed.rows().await, [1, 2]);
        proxy.clear();
        db.transaction_with(OUTER.lock("k"), async || Ok::<_, Error>(bed.insert(5).await?)).await.unwrap();
        let log = proxy.executed();
        let log = format!("{log:?}").to_ascii_lowercase();
        assert!(log.contains("pg_advisory_xact_lock") && !log.contains("unlock"), "{log}");
    }
}

case! {
    l_15 on postgres, mysql; pool = 1;
    "dropped anywhere, a lock of the session never comes to the connection's next borrower";
    async fn<B>(bed) {
        for way in [0, 3] {
            for n in 1.. {
                let id = 10 * i64::try_from(n).expect("few");
                let work = under_lock(way, &bed.db, Lock::key("k"), async || {
                    Ok(bed.insert(id).await?)
                });
                let (done, _) = poll_n(work, n).await;
                bed.db.drain().await;
                let left = bed.db.transaction(async || {
                    bed.visible().await?;
                    Ok::<_, Error>(bed.lock_holders("k").await)
                });
                assert!(left.await.unwrap().is_empty(), "{way} at {n}");
                if let Some(done) = done {
                    done.unwrap();
                    break;
                }
            }
            bed.control("delete from t").await;
        }
    }
}

case! {
    l_16 on sqlite, postgres, mysql;
    "under every isolation level the snapshot is younger than the lock";
    async fn<B>(bed) {
        let levels = [
            None,
            Some(Isolation::ReadCommitted),
            Some(Isolation::RepeatableRead),
            Some(Isolation::Serializable),
        ];
        for level in levels {
            let options = level.map_or(NEW, |level| NEW.isolation(level));
            for lock in providers("k") {
                start_counting(bed).await;
                let mut tasks = JoinSet::new();
                for _ in 0..10 {
                    let (bed, options) = (Arc::clone(bed), options.clone().lock(lock.clone()));
                    tasks.spawn(async move {
                        let db = &bed.db;
                        db.transaction_with(options, async || count(db).await).await
                    });
                }
                for result in tasks.join_all().await {
                    result.unwrap_or_else(|error| panic!("{level:?}: {error:?}"));
                }
                assert_eq!(counted(bed).await, 10, "{level:?}");
            }
        }
    }
}

#[transactional(propagation = Isolated)]
async fn isolated_insert<B: Backend>(db: &Db<B>, id: i64) -> Result<(), Error> {
    let sql = format!("insert into t (id) values ({id})");
    Ok(B::exec(db, &sql).await.map(drop)?)
}

case! {
    l_16_variable on postgres, mysql;
    "beside a lock in a variable nothing older than the lock is read";
    async fn<B>(bed) {
        let repeatable = TransactionOptions::new().isolation(Isolation::RepeatableRead);
        for lock in providers("k") {
            let read = bed.db.transaction_with(repeatable.clone(), async || {
                bed.visible().await?;
                let held = bed.db.lock(lock.clone()).await?;
                let late = bed.visible().await;
                held.release().await?;
                Ok::<_, Error>(late?)
            });
            let read = read.await;
            assert!(matches!(read, Err(Error::LockAfterSnapshot { .. })), "{read:?}");
            assert!(is_open(bed, &lock).await);
            let fresh = bed.db.transaction_with(repeatable.clone(), async || {
                let _held = bed.db.lock(lock.clone()).await?;
                Ok::<_, Error>(bed.visible().await?)
            });
            assert!(fresh.await.unwrap().is_empty());
        }
    }
}

case! {
    l_17 on sqlite, postgres, mysql;
    "a lock that the chain holds is entered again without waiting for itself";
    async fn<B>(bed) {
        let db = &bed.db;
        let local = LocalLocks::new();
        for provider in 0..2 {
            let lock = || {
                let lock = Lock::key("k").no_wait();
                if provider == 0 { lock } else { lock.on(&local) }
            };
            let nothing = async || Ok::<_, Error>(());
            let again = async || {
                db.locked(lock(), nothing).await?;
                db.transaction_with(JOINED.lock(lock()), nothing).await?;
                db.savepoint(async || db.locked(lock(), nothing).await).await?;
                db.lock(lock()).await?.release().await?;
                assert!(!is_open(bed, &lock()).await);
                Ok::<_, Error>(())
            };
            for way in WAYS {
                under_lock(way, db, lock(), again).await.unwrap_or_else(|error| panic!("{way}: {error:?}"));
                under_lock(way, db, lock(), async || {
                    bed.visible().await?;
                    again().await?;
                    if B::SERVER {
                        db.transaction_with(NEW, again).await?;
                        db.transaction_with(NEW.lock(lock()), again).await?;
                    }
                    Ok(())
                }).await.unwrap_or_else(|error| panic!("{way}, begun: {error:?}"));
                // Its lock is that of the chain.
                if B::SERVER || way == 0 {
                    let id = i64::try_from(2 * way + provider).expect("few") + 10;
                    match way {
                        0 => db.locked(lock(), async || isolated_insert(db, id).await).await,
                        _ => under_lock(way, db, lock(), async || isolated_insert(db, id).await).await,
                    }.unwrap_or_else(|error| panic!("{way}, isolated: {error:?}"));
                    assert!(bed.rows().await.contains(&id));
                }
                opens(bed, &lock()).await;
            }
        }
        let alone = isolated_insert(db, 1).await.unwrap_err();
        assert!(matches!(alone, Error::NoLockHeld { .. }), "{alone:?}");
    }
}

case! {
    l_17_same_pool on sqlite, postgres, mysql;
    "Dbs over one pool keep each other out, and along one chain enter what either holds";
    async fn<B>(bed) {
        let other = Db::new(bed.db.pool().clone());
        let again = || Lock::key("k").no_wait();
        let held = bed.db.lock("k").await.unwrap();
        let elsewhere = other.clone();
        let refused = tokio::spawn(async move { elsewhere.lock(again()).await.map(drop) });
        let refused = refused.await.unwrap();
        assert!(matches!(refused, Err(Error::LockTimeout { .. })), "{refused:?}");
        let entered = held.within(async || {
            other.locked(again(), async || Ok::<_, Error>(())).await
        });
        entered.await.unwrap();
        held.release().await.unwrap();
        other.lock(again()).await.unwrap().release().await.unwrap();
    }
}

case! {
    l_18 on sqlite, postgres, mysql;
    "tasks that name the same keys in opposite orders do not wait for each other in a circle";
    async fn<B>(bed) {
        let local = LocalLocks::new();
        for provider in 0..2 {
            let mut tasks = JoinSet::new();
            for task in 0..20 {
                let (bed, local) = (Arc::clone(bed), local.clone());
                tasks.spawn(async move {
                    let keys = if task % 2 == 0 { ["a", "b", "a"] } else { ["b", "a", "b"] };
                    let lock = Lock::keys(keys).wait(Duration::from_mins(1));
                    let lock = if provider == 0 { lock } else { lock.on(&local) };
                    let options = if task % 3 == 0 { NEW } else { OUTER };
                    bed.db.transaction_with(options.lock(lock), async || {
                        bed.visible().await?;
                        Ok::<_, Error>(())
                    }).await
                });
            }
            for result in tasks.join_all().await {
                result.unwrap();
            }
        }
    }
}

case! {
    l_19 on sqlite, postgres, mysql;
    "an after_commit hook runs when the transaction's lock is open; a lock around it stays";
    async fn<B>(bed) {
        for way in WAYS {
            for lock in providers("k") {
                let told = Arc::new(Notify::new());
                let open = Arc::new(std::sync::Mutex::new(None));
                under_lock(way, &bed.db, lock.clone(), async || {
                    bed.visible().await?;
                    let (bed, lock) = (Arc::clone(bed), lock.clone());
                    let (told, open) = (Arc::clone(&told), Arc::clone(&open));
                    bed.db.clone().after_commit(async move || {
                        *open.lock().expect("not poisoned") = Some(is_open(&bed, &lock).await);
                        told.notify_one();
                        Ok::<_, Error>(())
                    })
                }).await.unwrap();
                told.notified().await;
                let open = *open.lock().expect("not poisoned");
                assert_eq!(open, Some(matches!(way, 1 | 2)), "{way}");
            }
        }
    }
}
