//! Waiting for a lock: many in one line, with few connections, while somebody outside of this
//! process has it, and when whoever waits or holds goes away.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::poll;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tx_runtime::{Db, Error, Isolation, LocalLocks, Lock, Propagation, TransactionOptions};
use tx_tests::{Backend, Bed, case};

const WAITERS: usize = 500;

/// How long a condition may take to come true on its own.
const PATIENCE: Duration = Duration::from_mins(1);

/// Longer than anything here takes, and than anybody is patient.
const LONG: Duration = Duration::from_mins(4);

const NEW: TransactionOptions = TransactionOptions::new()
    .propagation(Propagation::RequiresNew)
    .name("new");

const JOINED: TransactionOptions = TransactionOptions::new()
    .propagation(Propagation::Mandatory)
    .name("joined");

const READ_COMMITTED: TransactionOptions = TransactionOptions::new()
    .isolation(Isolation::ReadCommitted)
    .name("outer");

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

/// The provider that a `Db` has by itself, and locks of this process.
fn providers(key: &str) -> [Lock; 2] {
    let local = LocalLocks::new();
    [Lock::key(key), Lock::key(key).on(&local)]
}

/// How many connections wait for a named lock of the server.
async fn waiting_on_server<B: Backend>(bed: &Bed<B>) -> i64 {
    let sql = match B::LABEL {
        "postgres" => {
            "select count(*) from pg_locks where locktype = 'advisory' and not granted
             and database = (select oid from pg_database where datname = current_database())"
        }
        _ => {
            "select count(*) from information_schema.processlist
             where db = database() and state = 'User lock'"
        }
    };
    bed.control_ints(sql).await[0]
}

// ----- one line ------------------------------------------------------------------------

case! {
    served_in_order_of_arrival on sqlite, postgres, mysql;
    // Nothing here nests; otherwise one of the two would be kept for what is nested.
    bed = Bed::<B>::build(|pool| pool.max_connections(2), |builder| builder.nesting_depth(1));
    "500 waiters on one key share a pool of 2 and are served in the order in which they came";
    async fn<B>(bed) {
        let db = &bed.db;
        let mut other_key = providers("other").into_iter();
        for lock in providers("k") {
            let lock = lock.wait(LONG);
            let (open, may_open) = oneshot::channel::<()>();
            let (say_held, held) = oneshot::channel::<()>();
            let mut holder = pin!(db.locked(lock.clone(), async || {
                say_held.send(()).expect("the test waits for it");
                drop(may_open.await);
                Ok::<_, Error>(())
            }));
            tokio::select! {
                _ = &mut holder => panic!("it is to hold the lock"),
                held = held => held.expect("it takes the lock"),
            }
            let order = Mutex::new(Vec::new());
            let served = || order.lock().unwrap_or_else(PoisonError::into_inner);
            let mut waiters: Vec<BoxFuture<'_, Result<(), Error>>> = Vec::new();
            for waiter in 0..WAITERS {
                let body = async move || {
                    B::int(db, "select count(*) from t").await?;
                    served().push(waiter);
                    Ok::<_, Error>(())
                };
                let mut waiter: BoxFuture<'_, _> = if waiter % 2 == 0 {
                    Box::pin(db.transaction_with(NEW.lock(lock.clone()), body))
                } else {
                    let lock = lock.clone();
                    Box::pin(db.locked(lock, async move || db.transaction(body).await))
                };
                assert!(poll!(&mut waiter).is_pending());
                waiters.push(waiter);
            }
            // Nobody else is held up by them.
            let other = other_key.next().expect("one for each");
            let beside = db.transaction_with(NEW.lock(other), async || {
                Ok::<_, Error>(B::int(db, "select 1").await?)
            });
            assert_eq!(timeout(PATIENCE, beside).await.expect("it is not held up").unwrap(), 1);
            assert!(served().is_empty());
            drop(open);
            let (held, results) = tokio::join!(holder, join_all(waiters));
            held.unwrap();
            for result in results {
                result.unwrap();
            }
            assert_eq!(*served(), (0..WAITERS).collect::<Vec<_>>());
        }
    }
}

/// Chains that wait for the lock with a transaction in hand, and chains that have the lock and
/// want their first connection.
async fn crossed<B: Backend>(bed: &Arc<Bed<B>>, lock: Lock, first: i64) {
    let mut chains = JoinSet::new();
    for chain in 0..32 {
        let (bed, lock) = (Arc::clone(bed), lock.clone().wait(LONG));
        chains.spawn(async move {
            let db = &bed.db;
            let id = first + 10 * chain;
            let write = async |id| Ok::<_, Error>(bed.insert(id).await?);
            match chain % 4 {
                0 | 1 => {
                    let outer = async || {
                        write(id).await?;
                        let inner = async || write(id + 1).await;
                        db.transaction_with(JOINED.lock(lock), inner).await
                    };
                    db.transaction_with(READ_COMMITTED, outer).await
                }
                2 => {
                    let body = async || {
                        write(id).await?;
                        write(id + 1).await
                    };
                    db.transaction_with(NEW.lock(lock), body).await
                }
                _ => {
                    let body = async || {
                        let one = async || write(id).await;
                        db.transaction(one).await?;
                        db.transaction(async || write(id + 1).await).await
                    };
                    db.locked(lock, body).await
                }
            }
        });
    }
    let results = chains.join_all().await;
    let failed: Vec<_> = results.iter().filter_map(|it| it.as_ref().err()).collect();
    assert!(
        failed.is_empty(),
        "{} failed: {:?}",
        failed.len(),
        failed[0]
    );
}

case! {
    holders_find_a_connection on postgres, mysql; pool = 4;
    "chains that wait for a lock with a transaction in hand leave a connection to its holder";
    async fn<B>(bed) {
        for (first, lock) in [10_000, 20_000].into_iter().zip(providers("k")) {
            crossed(bed, lock, first).await;
        }
        assert_eq!(bed.rows().await.len(), 2 * 2 * 32);
        assert!(bed.lock_holders("k").await.is_empty());
    }
}

case! {
    holders_find_a_connection_in_a_pool_of_two on postgres, mysql; pool = 2;
    "the same with a pool of two";
    async fn<B>(bed) {
        for (first, lock) in [10_000, 20_000].into_iter().zip(providers("k")) {
            crossed(bed, lock, first).await;
        }
        assert_eq!(bed.rows().await.len(), 2 * 2 * 32);
        assert!(bed.lock_holders("k").await.is_empty());
    }
}

case! {
    branches_wait_for_one_lock on sqlite, postgres, mysql;
    "branches of one transaction that wait for the same lock both come to run under it";
    async fn<B>(bed) {
        let db = &bed.db;
        for (id, lock) in [10, 20, 30, 40].into_iter().zip(providers("k").into_iter().chain(providers("k"))) {
            let lock = lock.wait(PATIENCE);
            let around = id > 20;
            let (open, may_open) = oneshot::channel::<()>();
            let (held, is_held) = oneshot::channel::<()>();
            let holder = {
                let (db, lock) = (db.clone(), lock.clone());
                tokio::spawn(async move {
                    db.locked(lock, async || {
                        held.send(()).expect("somebody waits");
                        drop(may_open.await);
                        Ok::<_, Error>(())
                    }).await
                })
            };
            is_held.await.unwrap();
            let outer = db.transaction_with(READ_COMMITTED, async || {
                let branch = async |id: i64| {
                    let body = async || Ok::<_, Error>(bed.insert(id).await?);
                    if around {
                        db.locked(lock.clone(), body).await
                    } else {
                        db.transaction_with(JOINED.lock(lock.clone()), body).await
                    }
                };
                let both = async { tokio::join!(branch(id), branch(id + 1)) };
                let mut both = pin!(both);
                assert!(poll!(&mut both).is_pending());
                drop(open);
                let (one, two) = both.await;
                one.and(two)
            });
            outer.await.unwrap_or_else(|error| panic!("{id}: {error:?}"));
            holder.await.unwrap().unwrap();
        }
        assert_eq!(bed.rows().await, [10, 11, 20, 21, 30, 31, 40, 41]);
    }
}

// ----- somebody outside of this process has it --------------------------------------------

/// The ways to want a lock.
#[derive(Clone, Copy, Debug)]
enum Form {
    Begun,
    Around,
    Variable,
    Joined,
    JoinedLate,
    InSavepoint,
}

const FORMS: [Form; 6] = [
    Form::Begun,
    Form::Around,
    Form::Variable,
    Form::Joined,
    Form::JoinedLate,
    Form::InSavepoint,
];

/// Wants the lock, in a transaction that goes on without it where there is one; gives what
/// came of the lock.
async fn want<B: Backend>(bed: &Bed<B>, form: Form, lock: Lock, id: i64) -> Result<(), Error> {
    let db = &bed.db;
    let work = async || Ok::<_, Error>(bed.insert(id).await?);
    match form {
        Form::Begun => db.transaction_with(NEW.lock(lock), work).await,
        Form::Around => db.locked(lock, async || db.transaction(work).await).await,
        Form::Variable => {
            let held = db.lock(lock).await?;
            let tx = held.begin().await?;
            B::exec(&tx, &format!("insert into t (id) values ({id})")).await?;
            tx.commit().await?;
            held.release().await
        }
        Form::Joined | Form::JoinedLate | Form::InSavepoint => {
            let mut wanted = Ok(());
            let joined = async || db.transaction_with(JOINED.lock(lock), work).await;
            let outer = async || {
                if !matches!(form, Form::Joined) {
                    bed.insert(id + 1).await?;
                }
                wanted = if matches!(form, Form::InSavepoint) {
                    let inside = async || {
                        bed.insert(id + 2).await?;
                        let refused = joined().await;
                        bed.insert(id + 3).await?;
                        Ok::<_, Error>(refused)
                    };
                    db.savepoint(inside).await?
                } else {
                    joined().await
                };
                bed.insert(id + 4).await?;
                Ok::<_, Error>(())
            };
            db.transaction_with(READ_COMMITTED, outer)
                .await
                .expect("it goes on");
            assert!(bed.rows().await.contains(&(id + 4)), "{form:?}");
            wanted
        }
    }
}

case! {
    lock_of_another_process on postgres, mysql;
    "a lock that another process has times out and names it; what waited goes on unharmed";
    async fn<B>(bed) {
        let control = bed.control_ints(match B::LABEL {
            "postgres" => "select pg_backend_pid()",
            _ => "select cast(connection_id() as signed)",
        }).await[0];
        for (number, form) in (1..).zip(FORMS) {
            for wait in [Duration::ZERO, Duration::from_millis(150)] {
                bed.take_lock("k").await;
                bed.control("delete from t").await;
                let lock = || Lock::key("k").wait(wait);
                let refused = want(bed, form, lock(), 10 * number).await.unwrap_err();
                let Error::LockTimeout { key, holder, .. } = &refused else {
                    panic!("{form:?}, {wait:?}: {refused:?}");
                };
                assert_eq!(key, "k");
                let holder = holder.as_deref().unwrap_or_default();
                assert!(holder.contains(&control.to_string()), "{form:?}, {wait:?}: {refused}");
                assert!(refused.is_retryable());
                assert!(!bed.rows().await.contains(&(10 * number)), "{form:?}");
                bed.open_lock("k").await;
                bed.control("delete from t").await;
                want(bed, form, lock(), 10 * number).await.unwrap_or_else(|error| {
                    panic!("{form:?}, {wait:?}, free: {error:?}")
                });
                assert!(bed.rows().await.contains(&(10 * number)), "{form:?}");
                assert!(bed.lock_holders("k").await.is_empty(), "{form:?}");
            }
        }
    }
}

case! {
    opened_by_another_process on postgres, mysql;
    "a wait for another process ends when that opens the lock";
    async fn<B>(bed) {
        for (number, form) in (1..).zip(FORMS) {
            bed.take_lock("k").await;
            let waiting = {
                let bed = Arc::clone(bed);
                tokio::spawn(async move {
                    want(&bed, form, Lock::key("k").wait(LONG), 10 * number).await
                })
            };
            until("it waits on the server", async || waiting_on_server(bed).await == 1).await;
            bed.open_lock("k").await;
            waiting.await.unwrap().unwrap_or_else(|error| panic!("{form:?}: {error:?}"));
        }
    }
}

case! {
    given_up_on_the_server on postgres, mysql; pool = 1;
    "a wait on the server that is given up gives the only connection back at once";
    async fn<B>(bed) {
        for (number, form) in (1..).zip(FORMS) {
            bed.take_lock("k").await;
            let waiting = {
                let bed = Arc::clone(bed);
                tokio::spawn(async move {
                    want(&bed, form, Lock::key("k").wait(LONG), 10 * number).await
                })
            };
            until("it waits on the server", async || waiting_on_server(bed).await >= 1).await;
            waiting.abort();
            drop(waiting.await);
            let next = timeout(PATIENCE, bed.db.transaction(async || {
                Ok::<_, Error>(bed.visible().await.map(drop)?)
            }));
            match next.await {
                Ok(Ok(())) => {}
                late => panic!("{form:?}: {late:?}"),
            }
            bed.open_lock("k").await;
            until("nobody has the lock", async || bed.lock_holders("k").await.is_empty()).await;
            until("nobody waits", async || waiting_on_server(bed).await == 0).await;
        }
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    given_up_in_line on sqlite, postgres, mysql; pool = 1;
    "a place in the line that is given up needs no connection and holds nobody up";
    async fn<B>(bed) {
        for lock in providers("k") {
            let lock = lock.wait(LONG);
            let held = bed.db.lock(lock.clone()).await.unwrap();
            let mut waiters = Vec::new();
            for _ in 0..20 {
                let body = async || Ok::<_, Error>(bed.visible().await.map(drop)?);
                let mut waiter = Box::pin(bed.db.transaction_with(NEW.lock(lock.clone()), body));
                assert!(poll!(&mut waiter).is_pending());
                waiters.push(waiter);
            }
            // Every second one goes, the first and the last among them.
            let mut kept = Vec::new();
            for (at, waiter) in waiters.into_iter().enumerate() {
                if at % 2 == 1 && at != 19 {
                    kept.push(waiter);
                }
            }
            held.release().await.unwrap();
            for result in timeout(PATIENCE, join_all(kept)).await.expect("nobody is held up") {
                result.unwrap();
            }
        }
    }
}

// ----- connections that go away ------------------------------------------------------------

/// The connection that has the lock.
async fn holder<B: Backend>(bed: &Bed<B>) -> i64 {
    let holders = bed.lock_holders("k").await;
    assert_eq!(holders.len(), 1, "one has the lock");
    holders[0]
}

async fn kill_holder<B: Backend>(bed: &Bed<B>) {
    bed.kill(holder(bed).await).await;
    until("the lock is free", async || {
        bed.lock_holders("k").await.is_empty()
    })
    .await;
}

/// Whether the lock can be had, and something be done under it.
async fn next_one_is_served<B: Backend>(db: &Db<B>) {
    let next = db.transaction_with(NEW.lock(Lock::key("k").wait(PATIENCE)), async || {
        Ok::<_, Error>(B::int(db, "select 1").await?)
    });
    assert_eq!(next.await.unwrap(), 1);
}

case! {
    killed_between_transactions on postgres, mysql;
    "a lock whose connection the server has killed lets nothing more be stored under it";
    async fn<B>(bed) {
        let db = &bed.db;
        let held = db.lock("k").await.unwrap();
        kill_holder(bed).await;
        let tx = held.begin().await.unwrap();
        let written = B::exec(&tx, "insert into t (id) values (1)").await;
        let committed = tx.commit().await;
        assert!(written.is_err() && committed.is_err(), "{written:?}, {committed:?}");
        let tx = held.begin().await.unwrap();
        let written = B::exec(&tx, "insert into t (id) values (2)").await;
        let committed = tx.commit().await;
        assert!(written.is_err() || committed.is_err(), "{committed:?}");
        let released = held.release().await.unwrap_err();
        assert!(matches!(released, Error::LockLost { .. }), "{released:?}");
        next_one_is_served(db).await;

        let locked = db.locked("k", async || {
            kill_holder(bed).await;
            db.transaction(async || Ok::<_, Error>(bed.insert(3).await?)).await.unwrap_err();
            let again = db.transaction(async || Ok::<_, Error>(bed.insert(4).await?)).await;
            Ok::<_, Error>(again)
        });
        let again = locked.await.unwrap().unwrap_err();
        assert!(matches!(again, Error::LockLost { .. }), "{again:?}");
        next_one_is_served(db).await;
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    killed_beside_a_transaction on postgres, mysql;
    "a lock that is lost while a transaction on another connection runs refuses its COMMIT";
    async fn<B>(bed) {
        let other = Bed::<B>::new().await.expect("the server is there");
        let lost = bed.db.locked(Lock::key("k").on(&other.db), async || {
            bed.db.transaction(async || {
                bed.insert(1).await?;
                kill_holder(&other).await;
                Ok::<_, Error>(())
            }).await
        });
        let lost = lost.await.unwrap_err();
        assert!(matches!(lost, Error::LockLost { .. }), "{lost:?}");
        assert!(bed.rows().await.is_empty());
        next_one_is_served(&other.db).await;
        other.assert_clean().await;
        other.finish().await;
    }
}

case! {
    killed_inside_a_transaction on postgres, mysql;
    "a transaction that is killed under its lock is not stored, and the next one is served";
    async fn<B>(bed) {
        let db = &bed.db;
        for form in [Form::Begun, Form::Around, Form::JoinedLate] {
            let body = async || {
                bed.insert(1).await?;
                kill_holder(bed).await;
                bed.insert(2).await?;
                Ok::<_, Error>(())
            };
            let killed = match form {
                Form::Begun => db.transaction_with(NEW.lock("k"), body).await,
                Form::Around => db.locked("k", async || db.transaction(body).await).await,
                _ => {
                    let outer = async || {
                        bed.insert(3).await?;
                        db.transaction_with(JOINED.lock("k"), body).await
                    };
                    db.transaction_with(READ_COMMITTED, outer).await
                }
            };
            killed.unwrap_err();
            next_one_is_served(db).await;
            assert!(bed.rows().await.is_empty(), "{form:?}");
            assert!(bed.lock_holders("k").await.is_empty(), "{form:?}");
        }
    }
}

case! {
    refused_lock_leaves_the_transaction_alone on sqlite, postgres, mysql;
    "a lock of this process that is not free in time dooms nothing";
    async fn<B>(bed) {
        let db = &bed.db;
        for (id, lock) in [10, 20].into_iter().zip(providers("k")) {
            let held = db.lock(lock.clone()).await.unwrap();
            let refused = db.transaction_with(READ_COMMITTED, async || {
                let first = db.transaction_with(JOINED.lock(lock.clone().no_wait()), nothing).await;
                bed.insert(id).await?;
                let lock = lock.clone().wait(Duration::from_millis(20));
                let second = db.transaction_with(JOINED.lock(lock), nothing).await;
                bed.insert(id + 1).await?;
                Ok::<_, Error>([first, second])
            });
            for refused in refused.await.unwrap() {
                let Err(Error::LockTimeout { holder: Some(holder), .. }) = &refused else {
                    panic!("{refused:?}");
                };
                assert!(holder.contains("lock_waiting.rs"), "{holder}");
            }
            held.release().await.unwrap();
        }
        assert_eq!(bed.rows().await, [10, 11, 20, 21]);
    }
}
