//! Locks where several things happen at once: waits that are given up, branches of one
//! transaction, connections that go away, handles that outlive what they were made in.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, join, poll};
use tokio::sync::{Barrier, oneshot};
use tokio::time::{sleep, timeout};
use tx_runtime::{
    DatabaseLocks, Db, Error, HeldLock, Isolation, LocalLocks, Lock, Propagation,
    TransactionOptions,
};
use tx_tests::{Backend, Bed, case, poll_n};

const NEW: TransactionOptions = TransactionOptions::new()
    .propagation(Propagation::RequiresNew)
    .name("new");

const ISOLATED: TransactionOptions = TransactionOptions::new()
    .propagation(Propagation::Isolated)
    .name("isolated");

const READ_COMMITTED: TransactionOptions = TransactionOptions::new()
    .isolation(Isolation::ReadCommitted)
    .name("outer");

const JOINED: TransactionOptions = TransactionOptions::new()
    .propagation(Propagation::Mandatory)
    .name("joined");

/// How long a condition may take to come true on its own.
const PATIENCE: Duration = Duration::from_mins(1);

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !holds().await {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(PATIENCE, holds).await.is_ok(), "in vain: {what}");
}

async fn nothing() -> Result<(), Error> {
    Ok(())
}

/// Whether the lock could be had this moment by another chain.
async fn is_open<B: Backend>(db: &Db<B>, lock: Lock) -> bool {
    let db = db.clone();
    let other_chain = tokio::spawn(async move { db.locked(lock.no_wait(), nothing).await });
    match other_chain.await.expect("it does not panic") {
        Ok(()) => true,
        Err(Error::LockTimeout { .. }) => false,
        Err(other) => panic!("{other:?}"),
    }
}

// ----- waits that are given up -----------------------------------------------------------

case! {
    given_up_wait_is_no_lock on postgres, mysql;
    "a lock whose wait was given up inside a transaction does not count as held";
    async fn<B>(bed) {
        bed.take_lock("k").await;
        let entered = Cell::new(false);
        bed.db.transaction_with(READ_COMMITTED, async || {
            bed.insert(1).await?;
            let attempt = async |wait: u64| {
                let lock = Lock::key("k").wait(Duration::from_millis(wait));
                let inside = bed.db.transaction_with(JOINED.lock(lock), async || {
                    entered.set(true);
                    Ok::<_, Error>(bed.insert(2).await?)
                });
                inside.await
            };
            assert!(timeout(Duration::from_millis(200), attempt(1_000)).await.is_err());
            let again = attempt(200).await;
            assert!(!entered.get(), "somebody else has the lock");
            assert!(matches!(again, Err(Error::LockTimeout { .. })), "{again:?}");
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
        bed.open_lock("k").await;
        assert!(is_open(&bed.db, Lock::key("k")).await);
    }
}

case! {
    branches_share_no_lock_that_is_still_wanted on postgres, mysql;
    "a branch does not run under a lock that another branch of its transaction only waits for";
    async fn<B>(bed) {
        bed.take_lock("k").await;
        let entered = Cell::new(0);
        bed.db.transaction_with(READ_COMMITTED, async || {
            bed.insert(1).await?;
            let branch = async |id: i64| {
                let lock = Lock::key("k").wait(Duration::from_millis(300));
                let inside = bed.db.transaction_with(JOINED.lock(lock), async || {
                    entered.set(entered.get() + 1);
                    Ok::<_, Error>(bed.insert(id).await?)
                });
                inside.await
            };
            let (one, two) = join!(branch(2), branch(3));
            assert_eq!(entered.get(), 0, "somebody else has the lock");
            assert!(matches!(one, Err(Error::LockTimeout { .. })), "{one:?}");
            assert!(matches!(two, Err(Error::LockTimeout { .. })), "{two:?}");
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
        bed.open_lock("k").await;
        assert!(is_open(&bed.db, Lock::key("k")).await);
    }
}

case! {
    branches_take_one_lock_once on sqlite, postgres, mysql;
    "two branches of a transaction that want the same lock both come to run under it";
    async fn<B>(bed) {
        let local = LocalLocks::new();
        for (id, lock) in [(10, Lock::key("k")), (20, Lock::key("k").on(&local))] {
            bed.db.transaction_with(READ_COMMITTED, async || {
                let branch = async |id: i64| {
                    let lock = lock.clone().wait(PATIENCE);
                    let inside = bed.db.transaction_with(JOINED.lock(lock), async || {
                        Ok::<_, Error>(bed.insert(id).await?)
                    });
                    inside.await
                };
                let (one, two) = join!(branch(id), branch(id + 1));
                one?;
                two?;
                assert!(!is_open(&bed.db, lock.clone()).await);
                Ok::<_, Error>(())
            }).await.unwrap();
            assert!(is_open(&bed.db, lock).await);
        }
        assert_eq!(bed.rows().await, [10, 11, 20, 21]);
    }
}

case! {
    branch_reads_while_another_waits_for_the_lock on mysql;
    "a snapshot that one branch takes while another waits for a lock is not read under the lock";
    async fn<B>(bed) {
        bed.control("insert into t (id, v) values (1, '0')").await;
        let stored = "select v from t where id = 1";
        for local in [false, true] {
            let provider = LocalLocks::new();
            let lock = if local { Lock::key("k").on(&provider) } else { Lock::key("k") };
            bed.control("update t set v = '0' where id = 1").await;
            let (write, may_write) = oneshot::channel::<()>();
            let holder = {
                let (bed, lock) = (Arc::clone(bed), lock.clone());
                let (locked, has_locked) = oneshot::channel();
                let task = tokio::spawn(async move {
                    bed.db.locked(lock, async || {
                        locked.send(()).expect("somebody waits");
                        may_write.await.expect("somebody says so");
                        bed.control("update t set v = '1' where id = 1").await;
                        Ok::<_, Error>(())
                    }).await
                });
                has_locked.await.expect("it gets the lock");
                task
            };
            let read = bed.db.transaction(async || {
                let mut under = pin!(bed.db.transaction_with(JOINED.lock(lock), async || {
                    Ok::<_, Error>(B::texts(&bed.db, stored).await?)
                }).fuse());
                assert!(poll!(&mut under).is_pending());
                B::texts(&bed.db, stored).await?;
                write.send(()).expect("somebody waits");
                under.await
            }).await;
            holder.await.expect("no panic").unwrap();
            match read {
                Err(Error::LockAfterSnapshot { .. }) => {}
                Ok(read) => assert_eq!(read, ["1"], "stale (local: {local})"),
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

// ----- transactions that outlive the one that holds the lock -------------------------------

case! {
    lock_of_the_outer_stays_for_the_dropped_inner on postgres, mysql;
    bed = Bed::<B>::build_proxied(
        tx_tests::Shape::WHOLE,
        |pool| pool.max_connections(3),
        |builder| builder,
    );
    "a lock on the outer's connection stays until the inner's COMMIT that nobody awaits is answered";
    async fn<B>(bed, proxy) {
        let trap = Cell::new(None);
        let outer = bed.db.transaction_with(READ_COMMITTED.lock("k"), async || {
            bed.insert(1).await?;
            trap.set(Some(proxy.hold_before("COMMIT")));
            let inner = bed.db.transaction_with(NEW, async || Ok::<_, Error>(bed.insert(2).await?));
            let laid = trap.take().expect("just laid");
            tokio::select! {
                biased;
                () = laid.sprung() => {}
                done = inner => panic!("not dropped: {done:?}"),
            }
            trap.set(Some(laid));
            Ok::<_, Error>(())
        });
        let mut outer = pin!(outer);
        // As long as the inner is under way, whatever becomes of the outer.
        let ended = timeout(Duration::from_millis(500), &mut outer).await;
        let holders = bed.lock_holders("k").await;
        trap.take().expect("laid").release();
        match ended {
            Ok(result) => result.unwrap(),
            Err(_) => outer.await.unwrap(),
        }
        bed.db.drain().await;
        assert!(!holders.is_empty(), "open while a COMMIT under it is under way");
        assert!(bed.lock_holders("k").await.is_empty());
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    held_lock_outlives_the_chain_that_held_it on sqlite, postgres, mysql;
    "a HeldLock taken again inside a locked body keeps the lock when that body has returned";
    async fn<B>(bed) {
        let local = LocalLocks::new();
        for lock in [Lock::key("k"), Lock::key("k").on(&local)] {
            let held = bed.db.locked(lock.clone(), async || bed.db.lock(lock.clone()).await);
            let held = held.await.unwrap();
            assert!(!is_open(&bed.db, lock.clone()).await, "a HeldLock without its lock");
            let tx = held.begin().await.unwrap();
            B::exec(&tx, "delete from t").await.unwrap();
            tx.commit().await.unwrap();
            held.release().await.unwrap();
            assert!(is_open(&bed.db, lock).await);
        }
    }
}

case! {
    held_lock_outlives_the_transaction_that_held_it on postgres, mysql;
    "a HeldLock taken again inside a locked transaction is not a lock without the server's";
    async fn<B>(bed) {
        let held = bed.db.transaction_with(READ_COMMITTED.lock("k"), async || {
            bed.insert(1).await?;
            bed.db.lock("k").await
        });
        let held: HeldLock<B> = held.await.unwrap();
        let tx = held.begin().await.unwrap();
        let written = B::exec(&tx, "insert into t (id) values (2)").await;
        let server = bed.lock_holders("k").await;
        let committed = tx.commit().await;
        drop(held);
        // Either it still has the lock, or it says that it has not.
        assert!(!server.is_empty() || written.is_err() || committed.is_err(), "nobody has the lock");
    }
}

// ----- connections under a lock ------------------------------------------------------------

/// Transactions side by side under one lock of the session, in as many chains as wanted.
async fn side_by_side<B: Backend>(bed: &Arc<Bed<B>>, chains: i64) -> Vec<Result<(), Error>> {
    let mut tasks = tokio::task::JoinSet::new();
    for chain in 0..chains {
        let bed = Arc::clone(bed);
        tasks.spawn(async move {
            let db = &bed.db;
            let body = db.locked(format!("chain {chain}"), async || {
                let one = async |id: i64| {
                    db.transaction(async || {
                        bed.insert(10 * chain + id).await?;
                        Ok::<_, Error>(bed.visible().await.map(drop)?)
                    })
                    .await
                };
                let (one, two) = join!(one(1), one(2));
                one.and(two)
            });
            body.await
        });
    }
    tasks.join_all().await
}

case! {
    two_transactions_under_one_lock on postgres, mysql; pool = 2;
    "two transactions side by side under a lock find connections in a pool of two";
    async fn<B>(bed) {
        for result in side_by_side(bed, 1).await {
            result.unwrap();
        }
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    many_transactions_under_locks on postgres, mysql; pool = 4;
    "the same in 32 chains with a lock each, in a pool of four";
    async fn<B>(bed) {
        for result in side_by_side(bed, 32).await {
            result.unwrap();
        }
        assert_eq!(bed.rows().await.len(), 64);
    }
}

case! {
    lock_inside_a_pool_of_one on postgres, mysql; pool = 1;
    "what a pool of one cannot give under a lock is refused at once";
    async fn<B>(bed) {
        let started = Instant::now();
        // The transaction's own connection takes the lock.
        bed.db.transaction_with(READ_COMMITTED, async || {
            bed.insert(1).await?;
            bed.db.transaction_with(JOINED.lock("k"), async || Ok::<_, Error>(bed.insert(2).await?)).await
        }).await.unwrap();
        // A lock without a transaction lends its connection to the one under it.
        bed.db.locked("k", async || {
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(3).await?)).await
        }).await.unwrap();
        let refused = bed.db.transaction_with(READ_COMMITTED, async || {
            bed.insert(4).await?;
            bed.db.locked("k", nothing).await
        }).await.unwrap_err();
        assert!(matches!(refused, Error::PoolTooSmall { .. }), "{refused:?}");
        let refused = bed.db.locked("a", async || bed.db.locked("b", nothing).await).await.unwrap_err();
        assert!(matches!(refused, Error::PoolTooSmall { .. }), "{refused:?}");
        // Otherwise it takes as long as the pool lets anybody wait.
        let limit = bed.db.pool().options().get_acquire_timeout();
        assert!(started.elapsed() < limit, "{:?}", started.elapsed());
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

case! {
    writer_waits_for_no_lock on sqlite; pool = 4;
    "a second writer is refused at once, not after a wait for its lock";
    async fn<B>(bed) {
        let both = Arc::new(Barrier::new(2));
        let holder = {
            let (bed, both) = (Arc::clone(bed), Arc::clone(&both));
            tokio::spawn(async move {
                bed.db.locked("k", async || {
                    both.wait().await;
                    bed.db.transaction(async || Ok::<_, Error>(bed.insert(1).await?)).await
                }).await
            })
        };
        let mut refused_after = None;
        let outer = bed.db.transaction(async || {
            bed.insert(2).await?;
            both.wait().await;
            let started = Instant::now();
            let lock = Lock::key("k").wait(PATIENCE);
            let refused = bed.db.transaction_with(ISOLATED.lock(lock), async || {
                Ok::<_, Error>(bed.insert(3).await?)
            }).await;
            refused_after = Some(started.elapsed());
            refused
        }).await.unwrap_err();
        assert!(matches!(outer, Error::SecondWriter { .. }), "{outer:?}");
        // Its holder waits for the writer, and so the lock would not open.
        assert!(refused_after.is_some_and(|it| it < PATIENCE), "{refused_after:?}");
        holder.await.unwrap().unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    dropped_check_loses_no_lock on postgres, mysql;
    "a transaction dropped while its lock is looked after leaves the lock to the next one";
    async fn<B>(bed) {
        let other = Bed::<B>::new().await.expect("the server is there");
        let mut n = 1;
        loop {
            let id = 10 * i64::try_from(n).expect("few");
            let done = bed.db.locked(Lock::key("k").on(&other.db), async || {
                let first = bed.db.transaction(async || Ok::<_, Error>(bed.insert(id).await?));
                let (first, _) = poll_n(first, n).await;
                bed.db.transaction(async || Ok::<_, Error>(bed.insert(id + 1).await?)).await?;
                Ok::<_, Error>(first)
            });
            let done = done.await.unwrap_or_else(|error| panic!("dropped at poll {n}: {error:?}"));
            bed.db.drain().await;
            assert!(bed.rows().await.contains(&(id + 1)));
            if let Some(done) = done {
                done.unwrap();
                break;
            }
            n += 1;
        }
        other.assert_clean().await;
        other.finish().await;
    }
}

// ----- drops ---------------------------------------------------------------------------

/// The ways to have a lock.
#[derive(Clone, Copy, Debug)]
enum Form {
    Lock,
    Locked,
    Begun,
    Joined,
    Nested,
    Isolated,
}

const FORMS: [Form; 6] = [
    Form::Lock,
    Form::Locked,
    Form::Begun,
    Form::Joined,
    Form::Nested,
    Form::Isolated,
];

async fn under_lock<B: Backend>(
    form: Form,
    bed: &Bed<B>,
    lock: Lock,
    id: i64,
) -> Result<(), Error> {
    let db = &bed.db;
    let work = async || Ok::<_, Error>(bed.insert(id).await?);
    match form {
        Form::Lock => {
            let held = db.lock(lock).await?;
            let tx = held.begin().await?;
            B::exec(&tx, &format!("insert into t (id) values ({id})")).await?;
            tx.commit().await?;
            held.release().await
        }
        Form::Locked => db.locked(lock, async || db.transaction(work).await).await,
        Form::Begun => db.transaction_with(READ_COMMITTED.lock(lock), work).await,
        Form::Joined | Form::Nested => {
            let mode = match form {
                Form::Nested => Propagation::Nested,
                _ => Propagation::Required,
            };
            let inner = TransactionOptions::new().propagation(mode);
            let outer = async || {
                if B::SERVER {
                    bed.insert(id + 1).await?;
                }
                db.transaction_with(inner.lock(lock), work).await
            };
            db.transaction_with(READ_COMMITTED, outer).await
        }
        Form::Isolated => {
            let outer = async || {
                if B::SERVER {
                    bed.insert(id + 1).await?;
                }
                db.transaction_with(ISOLATED.lock(lock), work).await
            };
            db.transaction(outer).await
        }
    }
}

/// Drops every form at every await point, alone and while another process has the lock.
async fn drop_everywhere<B: Backend>(bed: &Bed<B>, local: Option<&LocalLocks>) {
    let lock = |wait| {
        let lock = Lock::key("k").wait(wait);
        local.map_or_else(|| lock.clone(), |local| lock.clone().on(local))
    };
    for form in FORMS {
        bed.control("delete from t").await;
        for n in 1.. {
            let id = 10 * i64::try_from(n).expect("few");
            let work = under_lock(form, bed, lock(PATIENCE), id);
            let (done, _) = poll_n(work, n).await;
            let next = timeout(PATIENCE, under_lock(form, bed, lock(PATIENCE), id + 5)).await;
            let next = next.unwrap_or_else(|_| panic!("{form:?} at {n}: the next one hangs"));
            next.unwrap_or_else(|error| panic!("{form:?} at {n}: {error:?}"));
            let stored = bed.rows().await;
            assert!(stored.contains(&(id + 5)), "{form:?} at {n}: {stored:?}");
            if let Some(done) = done {
                done.unwrap();
                break;
            }
        }
        if let Err(wrong) = bed.clean().await {
            panic!("{form:?}: {wrong}");
        }
        if B::SERVER {
            assert!(bed.lock_holders("k").await.is_empty(), "{form:?}");
        }
    }
}

case! {
    dropped_anywhere on sqlite, postgres, mysql; pool = 3;
    "dropped at any await point, whatever has the lock leaves it to the next in line";
    async fn<B>(bed) {
        drop_everywhere(bed, None).await;
    }
}

case! {
    dropped_anywhere_in_this_process on sqlite, postgres, mysql; pool = 3;
    "the same with locks inside the process";
    async fn<B>(bed) {
        drop_everywhere(bed, Some(&LocalLocks::new())).await;
    }
}

case! {
    dropped_anywhere_while_it_waits on postgres, mysql; pool = 3;
    "dropped while another process has the lock, nothing is left waiting or locked";
    async fn<B>(bed) {
        for form in FORMS {
            for n in 1..=12 {
                bed.take_lock("k").await;
                let lock = Lock::key("k").wait(Duration::from_millis(300));
                let id = 10 * n;
                let polls = usize::try_from(n).expect("few");
                let work = timeout(Duration::from_millis(100), under_lock(form, bed, lock, id));
                drop(poll_n(work, polls).await);
                bed.open_lock("k").await;
                until("the lock opens", async || is_open(&bed.db, Lock::key("k")).await).await;
                assert!(bed.lock_holders("k").await.is_empty(), "{form:?} at {n}");
            }
            if let Err(wrong) = bed.clean().await {
                panic!("{form:?}: {wrong}");
            }
        }
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    lock_outlives_its_runtime on sqlite, postgres, mysql;
    "a lock dropped after its runtime has been shut down takes nothing with it";
    async fn<B>(bed) {
        let (give, held) = oneshot::channel();
        let options = bed.options().clone();
        let elsewhere = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime");
            let held = runtime.block_on(async {
                let pool = sqlx::pool::PoolOptions::<B>::new().connect_lazy_with(options);
                let db = Db::new(pool);
                let held = db.lock("k").await.unwrap();
                let begun = db.lock("other").await.unwrap();
                let unfinished = begun.begin().await.unwrap();
                B::exec(&unfinished, "insert into t (id) values (1)").await.unwrap();
                drop(unfinished);
                drop(begun);
                held
            });
            runtime.shutdown_timeout(PATIENCE);
            drop(give.send(held));
        });
        let held = held.await.unwrap();
        elsewhere.join().unwrap();
        if B::SERVER {
            assert!(!bed.lock_holders("k").await.is_empty());
        }
        drop(held);
        if B::SERVER {
            until("the server lets go", async || bed.lock_holders("k").await.is_empty()).await;
            until("the server lets go", async || bed.lock_holders("other").await.is_empty()).await;
        }
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    lock_dropped_outside_of_a_runtime on sqlite, postgres, mysql;
    "a lock dropped on a thread without a runtime opens all the same";
    async fn<B>(bed) {
        let held = bed.db.lock("k").await.unwrap();
        std::thread::spawn(move || drop(held)).join().unwrap();
        bed.db.drain().await;
        assert!(is_open(&bed.db, Lock::key("k")).await);
        let held = bed.db.lock("k").await.unwrap();
        // A transaction of its own: it owes nothing to the borrow.
        let tx = held.within(async || bed.db.begin_with(NEW).await).await.unwrap();
        B::exec(&tx, "insert into t (id) values (1)").await.unwrap();
        std::thread::spawn(move || drop((held, tx))).join().unwrap();
        bed.db.drain().await;
        assert!(is_open(&bed.db, Lock::key("k")).await);
        assert!(bed.rows().await.is_empty());
    }
}

// ----- names ---------------------------------------------------------------------------

case! {
    names_are_exact on sqlite, postgres, mysql; pool = 30;
    "names that differ in case, blanks, accents or quotes are different locks, here and there";
    async fn<B>(bed) {
        let longest = "x".repeat(500);
        let names = [
            "k", "K", "k ", " k", "k\t", "'k'", "\"k\"", "k\\", "k''", "k;--", "ä", "a\u{308}", "Ä",
            "ß", "ss", "🔒", "%", "$1", "?", "k\n", longest.as_str(), &longest[1..],
        ];
        let mut held = Vec::new();
        for name in names {
            held.push(bed.db.lock(Lock::key(name).no_wait()).await.unwrap_or_else(|error| {
                panic!("{name:?}: {error}")
            }));
            assert!(!is_open(&bed.db, Lock::key(name)).await, "{name:?}");
            if B::SERVER {
                assert_eq!(bed.lock_holders(name).await.len(), 1, "{name:?}");
            }
        }
        for held in held {
            held.release().await.unwrap();
        }
        for name in names {
            assert!(is_open(&bed.db, Lock::key(name)).await, "{name:?}");
        }
    }
}

case! {
    names_that_cannot_be on sqlite, postgres, mysql;
    "a name that is empty, too long or holds a NUL is refused before anything runs";
    async fn<B>(bed) {
        let too_long = "é".repeat(251);
        for name in ["", "a\0b", too_long.as_str()] {
            let refused = bed.db.lock(name).await.unwrap_err();
            assert!(matches!(refused, Error::LockKey { .. }), "{name:?}: {refused:?}");
            assert_eq!(refused.outcome(), tx_runtime::Outcome::NotStarted);
            let refused = bed.db.locked(Lock::keys(["ok", name]), nothing).await.unwrap_err();
            assert!(matches!(refused, Error::LockKey { .. }), "{name:?}: {refused:?}");
            let refused = bed.db.transaction_with(NEW.lock(name), nothing).await.unwrap_err();
            assert!(matches!(refused, Error::LockKey { .. }), "{name:?}: {refused:?}");
        }
        assert_eq!(bed.db.pool().size(), 0, "nothing was sent");
        let none = Lock::keys(Vec::<String>::new());
        let refused = bed.db.locked(none, nothing).await;
        assert!(matches!(refused, Err(Error::LockKey { .. })), "no name: {refused:?}");
    }
}

case! {
    waits_of_any_length on sqlite, postgres, mysql;
    "the longest of all waits and none at all both take a free lock";
    async fn<B>(bed) {
        for wait in [Duration::MAX, Duration::from_secs(1 << 40), Duration::from_nanos(1), Duration::ZERO] {
            let lock = || Lock::keys(["a", "b"]).wait(wait);
            bed.db.locked(lock(), nothing).await.unwrap_or_else(|error| panic!("{wait:?}: {error}"));
            bed.db.transaction_with(NEW.lock(lock()), async || {
                bed.visible().await?;
                bed.db.transaction_with(JOINED.lock(Lock::key("c").wait(wait)), nothing).await
            }).await.map(drop).or_else(|error| match error {
                Error::LockAfterSnapshot { .. } => Ok(()),
                other => Err(other),
            }).unwrap_or_else(|error| panic!("{wait:?}: {error}"));
        }
    }
}

case! {
    one_wait_for_all_keys on postgres, mysql;
    "the wait is for all the keys together, not for each of them";
    async fn<B>(bed) {
        // The first is freed late, so that little is left for the second.
        let (late, wait) = (Duration::from_millis(2_500), Duration::from_secs(3));
        for key in ["a", "b"] {
            bed.take_lock(key).await;
        }
        let started = Instant::now();
        let opener = {
            let bed = Arc::clone(bed);
            tokio::spawn(async move {
                sleep(late).await;
                bed.open_lock("a").await;
            })
        };
        let lock = Lock::keys(["a", "b"]).wait(wait);
        let refused = bed.db.locked(lock, nothing).await.unwrap_err();
        let waited = started.elapsed();
        assert!(matches!(refused, Error::LockTimeout { .. }), "{refused:?}");
        // A wait for each key takes as long as this at least.
        assert!(waited < late + wait, "{waited:?}");
        opener.await.unwrap();
        bed.open_lock("b").await;
    }
}

case! {
    providers_are_who_they_are on sqlite, postgres, mysql;
    "the Db, its DatabaseLocks and their clones are one provider; two LocalLocks are two";
    async fn<B>(bed) {
        let database: DatabaseLocks<B> = bed.db.database_locks();
        let held = bed.db.lock("k").await.unwrap();
        assert!(!is_open(&bed.db, Lock::key("k").on(&database)).await);
        assert!(!is_open(&bed.db, Lock::key("k").on(&bed.db.clone())).await);
        assert!(is_open(&bed.db, Lock::key("k").on(&LocalLocks::new())).await);
        // Re-entered through any of them.
        held.within(async || {
            bed.db.locked(Lock::key("k").on(&database).no_wait(), nothing).await
        }).await.unwrap();
        held.release().await.unwrap();
    }
}
