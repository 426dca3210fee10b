//! Futures dropped, aborted, forgotten and run beside each other.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use sqlx::pool::PoolOptions;
use sqlx::{Connection as _, Executor as _};
use tokio::sync::{Barrier, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tx_runtime::{Db, Error, Propagation, TransactionOptions, transactional};
use tx_tests::{Backend, Bed, Lay, Proxy, Shape, Trap, case, pending_once, poll_n};

/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_mins(1);

const NEW: TransactionOptions = TransactionOptions::new()
    .propagation(Propagation::RequiresNew)
    .name("new");

async fn insert<B: Backend>(db: &Db<B>, id: i64) -> Result<(), Error> {
    let sql = format!("insert into t (id) values ({id})");
    Ok(B::exec(db, &sql).await.map(drop)?)
}

#[transactional]
async fn add<B: Backend>(db: &Db<B>, id: i64) -> Result<(), Error> {
    insert(db, id).await
}

#[transactional(propagation = Nested)]
async fn add_nested<B: Backend>(db: &Db<B>, ids: [i64; 2], fails: bool) -> Result<(), Error> {
    for id in ids {
        insert(db, id).await?;
        pending_once().await;
    }
    if fails {
        return Err(sqlx::Error::RowNotFound.into());
    }
    Ok(())
}

/// Runs `work` until `event` happens, and drops it where it is then.
async fn drop_at<T: std::fmt::Debug>(work: impl Future<Output = T>, event: impl Future) {
    tokio::select! {
        biased;
        output = work => panic!("it was to be dropped, and ended with {output:?}"),
        _ = event => {}
    }
}

/// Drops `work` when `trap` has caught its message, and lets the message go.
async fn drop_in_flight<T: std::fmt::Debug>(work: impl Future<Output = T>, trap: &Trap) {
    drop_at(work, trap.sprung()).await;
    trap.release();
}

/// Waits, with a bound, until nobody holds row 1 any more; only asking tells.
async fn until_free<B: Backend>(bed: &Bed<B>) {
    let free = async {
        while !bed.free(1).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if timeout(PATIENCE, free).await.is_ok() {
        return;
    }
    panic!("row 1 stays locked:\n{}", bed.server_view().await);
}

/// A scope that writes the row `id`, says so and never ends.
async fn never_ends<B: Backend>(
    bed: &Bed<B>,
    options: TransactionOptions,
    id: i64,
    wrote: oneshot::Sender<()>,
) -> Result<(), Error> {
    bed.db
        .transaction_with(options, async || {
            bed.insert(id).await?;
            wrote.send(()).unwrap();
            pending().await
        })
        .await
}

case! {
    c_01 on sqlite, postgres, mysql; pool = 1;
    "a scope dropped after a write leaves nothing behind";
    async fn<B>(bed) {
        let (wrote, has_written) = oneshot::channel();
        drop_at(never_ends(bed, NEW, 1, wrote), has_written).await;
        bed.db.drain().await;
        assert!(bed.rows().await.is_empty());
        add(&bed.db, 1).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    c_02 on sqlite, postgres, mysql;
    "after drain, the row locks of a dropped scope are open";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (1)").await;
        for _ in 0..20 {
            let (wrote, has_written) = oneshot::channel();
            let scope = bed.db.transaction(async || {
                B::exec(&bed.db, "update t set v = 'x' where id = 1").await?;
                assert!(!bed.free(1).await);
                wrote.send(()).unwrap();
                pending::<Result<(), Error>>().await
            });
            drop_at(scope, has_written).await;
            bed.db.drain().await;
            assert!(bed.free(1).await);
        }
        assert_eq!(bed.control_texts("select v from t").await, ["NULL"]);
    }
}

/// Drops a scope at each of its await points; the next borrower of its connection must get
/// its own answers, and the scope's rows are stored together or not at all.
async fn drop_everywhere<B: Backend>(bed: &Bed<B>) {
    for n in 1..1000 {
        let id = i64::try_from(n).unwrap();
        let ids = [id, 1000 + id];
        let body_ended = AtomicBool::new(false);
        let scope = bed.db.transaction(async || {
            bed.insert(ids[0]).await?;
            // Text that the connection has not seen, so that it is prepared first.
            let echo = B::int(&bed.db, &format!("select {id} as cold_{id}")).await?;
            assert_eq!(echo, id);
            bed.insert(ids[1]).await?;
            body_ended.store(true, Ordering::Relaxed);
            Ok::<_, Error>(())
        });
        let (ended, _) = poll_n(scope, n).await;
        let answer = bed
            .db
            .transaction(async || {
                let answer = B::int(&bed.db, &format!("select {id} + 5000")).await?;
                bed.insert(5000 + id).await?;
                Ok::<_, Error>(answer)
            })
            .await;
        assert_eq!(answer.unwrap(), id + 5000, "after a drop at poll {n}");
        let rows = bed.rows().await;
        assert!(rows.contains(&(5000 + id)));
        let stored = ids.map(|id| rows.contains(&id));
        assert_eq!(stored[0], stored[1], "dropped at poll {n}");
        if !body_ended.into_inner() {
            assert!(!stored[0], "dropped at poll {n}, before its body ended");
        }
        if let Some(ended) = ended {
            ended.unwrap();
            assert!(stored[0]);
            return;
        }
    }
    panic!("a thousand polls are not enough for three statements");
}

case! {
    c_04 on sqlite, postgres, mysql; pool = 1;
    "dropped at whatever await point, a scope leaves its connection usable and clean";
    async fn<B>(bed) {
        drop_everywhere(bed).await;
    }
}

case! {
    c_04_in_pieces on postgres, mysql;
    bed = Bed::<B>::build_proxied(
        Shape::pieces(7, Duration::from_micros(100)),
        |pool| pool.max_connections(1),
        |builder| builder,
    );
    "dropped in the middle of an answer, a scope leaves its connection usable and clean";
    async fn<B>(bed, _proxy) {
        drop_everywhere(bed).await;
    }
}

case! {
    c_05 on postgres, mysql; pool = 1;
    "a scope dropped while COMMIT is on its way is committed, and its connection clean";
    async fn<B>(bed, proxy) {
        let (before, after) = (Proxy::hold_before, Proxy::hold_after);
        for (id, lay) in [(1, before as Lay), (2, after)] {
            let trap = lay(proxy, "COMMIT");
            drop_in_flight(add(&bed.db, id), &trap).await;
            bed.db.drain().await;
            assert!(bed.rows().await.contains(&id));
        }
        assert!(proxy.events().iter().all(|(_, event)| *event != "ROLLBACK"));
    }
}

case! {
    c_06 on postgres, mysql; pool = 1;
    "drain waits for the COMMIT of a dropped scope";
    async fn<B>(bed, proxy) {
        let trap = proxy.hold_before("COMMIT");
        drop_at(add(&bed.db, 1), trap.sprung()).await;
        let mut drained = pin!(bed.db.drain());
        assert!(futures_util::poll!(&mut drained).is_pending());
        assert!(bed.rows().await.is_empty());
        trap.release();
        drained.await;
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    c_08 on postgres, mysql; pool = 1;
    "a scope dropped while ROLLBACK or ROLLBACK TO is on its way is rolled back";
    async fn<B>(bed, proxy) {
        for (word, nested) in [("ROLLBACK", false), ("ROLLBACK TO", true), ("ROLLBACK", true)] {
            let (before, after) = (Proxy::hold_before, Proxy::hold_after);
            for lay in [before as Lay, after] {
                let trap = lay(proxy, word);
                let failing = bed.db.transaction(async || {
                    bed.insert(1).await?;
                    if nested {
                        let inner = add_nested(&bed.db, [2, 3], true).await;
                        inner.unwrap_err();
                    }
                    Err::<(), _>(Error::OutsideScope)
                });
                drop_in_flight(failing, &trap).await;
                bed.db.drain().await;
                assert!(bed.rows().await.is_empty());
            }
        }
        add(&bed.db, 1).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    c_08_child on postgres, mysql; pool = 1;
    "a savepoint scope dropped while ROLLBACK TO is on its way does not harm its parent";
    async fn<B>(bed, proxy) {
        let trap = proxy.hold_after("ROLLBACK TO");
        bed.db
            .transaction(async || {
                bed.insert(1).await?;
                drop_in_flight(add_nested(&bed.db, [2, 3], true), &trap).await;
                assert_eq!(bed.visible().await?, [1]);
                Ok::<_, Error>(bed.insert(4).await?)
            })
            .await
            .unwrap();
        assert_eq!(bed.rows().await, [1, 4]);
    }
}

case! {
    c_09 on sqlite, postgres, mysql; pool = 1;
    "a savepoint scope dropped at whatever await point leaves its parent as it was";
    async fn<B>(bed) {
        for n in 1..1000 {
            let id = 10 * i64::try_from(n).unwrap();
            let mut dropped = true;
            bed.db
                .transaction(async || {
                    bed.insert(id).await?;
                    let (ended, _) = poll_n(add_nested(&bed.db, [id + 1, id + 2], false), n).await;
                    if let Some(ended) = ended {
                        ended?;
                        dropped = false;
                    }
                    Ok::<_, Error>(bed.insert(id + 3).await?)
                })
                .await
                .unwrap();
            let rows = bed.rows().await;
            let new: Vec<_> = rows.into_iter().filter(|row| *row >= id).map(|row| row - id).collect();
            if !dropped {
                assert_eq!(new, [0, 1, 2, 3]);
                return;
            }
            // A RELEASE that was on its way may have kept the child's work, whole.
            assert!(new == [0, 3] || new == [0, 1, 2, 3], "dropped at poll {n}: {new:?}");
        }
        panic!("a thousand polls are not enough for two statements");
    }
}

case! {
    c_09_plain_sqlx on sqlite; pool = 1;
    "the evil: plain sqlx, dropped while it begins a savepoint, says Ok and loses rows";
    async fn<B>(bed) {
        plain_sqlx_lies(bed).await;
    }
}

case! {
    c_09_plain_sqlx_in_pieces on postgres, mysql;
    bed = Bed::<B>::build_proxied(
        Shape::pieces(7, Duration::from_micros(100)),
        |pool| pool.max_connections(1),
        |builder| builder,
    );
    "the evil over a network: plain sqlx says Ok and loses rows";
    async fn<B>(bed, _proxy) {
        plain_sqlx_lies(bed).await;
    }
}

/// Drops a savepoint's `begin` half-way; the transaction around it goes on, and says sooner or
/// later that it is committed while half of its rows are missing.
async fn plain_sqlx_lies<B: Backend>(bed: &Bed<B>) {
    // How many polls there are depends on the moment, so each number comes many times.
    for run in 0..3_000_u16 {
        let id = 10 * i64::from(run);
        let insert = |id| format!("insert into t (id) values ({id})");
        let mut outer = bed.db.pool().begin().await.unwrap();
        B::exec(B::on(&mut outer), &insert(id)).await.unwrap();
        drop(poll_n(outer.begin(), usize::from(1 + run % 6)).await);
        let written = B::exec(B::on(&mut outer), &insert(id + 3)).await;
        let committed = outer.commit().await;
        let rows = bed.rows().await;
        let stored = rows.into_iter().filter(|row| *row >= id).count();
        if written.is_ok() && committed.is_ok() && stored != 2 {
            return;
        }
    }
    panic!("plain sqlx has learned it");
}

case! {
    c_10 on postgres, mysql;
    "a dropped RequiresNew is rolled back, and the scope around it goes on";
    async fn<B>(bed) {
        bed.db
            .transaction(async || {
                bed.insert(1).await?;
                let pid = bed.pid().await?;
                let (wrote, has_written) = oneshot::channel();
                drop_at(never_ends(bed, NEW, 2, wrote), has_written).await;
                assert!(bed.db.is_in_transaction());
                assert!(!bed.db.is_rollback_only());
                assert_eq!(bed.pid().await?, pid);
                bed.db.drain().await;
                // It would wait for the dropped one's row, or collide with it.
                Ok::<_, Error>(bed.insert(2).await?)
            })
            .await
            .unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    c_11 on postgres, mysql;
    "a dropped stack of two transactions is rolled back whole";
    async fn<B>(bed, proxy) {
        let (wrote, has_written) = oneshot::channel();
        let stack = bed.db.transaction(async || {
            bed.insert(1).await?;
            never_ends(bed, NEW, 2, wrote).await
        });
        drop_at(stack, has_written).await;
        bed.db.drain().await;
        assert!(bed.rows().await.is_empty());
        // Each on its own connection; which of them is first is not defined.
        let mut events = proxy.events();
        events.sort_unstable();
        let expected = [(0, "BEGIN"), (0, "ROLLBACK"), (1, "BEGIN"), (1, "ROLLBACK")];
        assert_eq!(events, expected);
        add(&bed.db, 1).await.unwrap();
        add(&bed.db, 2).await.unwrap();
    }
}

case! {
    c_12 on sqlite, postgres, mysql;
    "a scope dropped before its first poll has done nothing";
    async fn<B>(bed) {
        drop(add(&bed.db, 1));
        drop(bed.db.transaction(async || add(&bed.db, 2).await));
        drop(bed.db.begin());
        assert!(poll_n(add(&bed.db, 3), 0).await.0.is_none());
        assert_eq!(bed.db.pool().size(), 0);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    c_13 on sqlite, postgres, mysql; pool = 1;
    "scopes dropped while they wait for a connection give their places up";
    async fn<B>(bed) {
        // In the pool's own queue.
        let taken = bed.db.pool().acquire().await.unwrap();
        for n in 0..100 {
            let waiting = poll_n(add(&bed.db, 1), 1 + n % 2);
            assert!(timeout(Duration::from_millis(20), waiting).await.map_or(true, |(it, _)| it.is_none()));
        }
        drop(taken);
        // In ours, behind another scope.
        let (release, released) = oneshot::channel::<()>();
        let (wrote, has_written) = oneshot::channel();
        let holder = bed.db.transaction(async || {
            bed.insert(1).await?;
            wrote.send(()).unwrap();
            released.await.unwrap();
            Ok::<_, Error>(())
        });
        let others = async {
            has_written.await.unwrap();
            for _ in 0..100 {
                assert_eq!(poll_n(add(&bed.db, 2), 1).await.1, 1);
            }
            release.send(()).unwrap();
        };
        let (holder, ()) = tokio::join!(holder, others);
        holder.unwrap();
        for id in 3..7 {
            add(&bed.db, id).await.unwrap();
        }
        assert_eq!(bed.rows().await, [1, 3, 4, 5, 6]);
    }
}

case! {
    c_15 on sqlite, postgres, mysql;
    "a spawned task is outside of its parent's scope, and its own scope is its own";
    async fn<B>(bed) {
        let mut child = None;
        let failed = bed.db.transaction(async || {
            bed.insert(1).await?;
            let bed = Arc::clone(bed);
            child = Some(tokio::spawn(async move {
                assert!(!bed.db.is_in_transaction());
                let lost = Error::from(bed.insert(9).await.unwrap_err());
                assert!(matches!(lost, Error::OutsideScope), "{lost:?}");
                add(&bed.db, 2).await
            }));
            Err::<(), _>(Error::OutsideScope)
        });
        assert!(matches!(failed.await, Err(Error::OutsideScope)));
        child.unwrap().await.unwrap().unwrap();
        assert_eq!(bed.rows().await, [2]);
    }
}

case! {
    c_16 on sqlite, postgres, mysql;
    "a statement that outlives its scope is refused, on whatever task";
    async fn<B>(bed) {
        let db = Box::leak(Box::new(bed.db.clone()));
        let db: &'static Db<B> = db;
        let late = db
            .transaction(async || {
                insert(db, 1).await?;
                // It belongs to the scope in which it was made.
                Ok::<_, Error>([
                    db.execute("insert into t (id) values (2)"),
                    db.execute("insert into t (id) values (3)"),
                ])
            })
            .await
            .unwrap();
        let [here, there] = late;
        let there = tokio::spawn(async move { there.await.map(drop) });
        for late in [here.await.map(drop), there.await.unwrap()] {
            let late = Error::from(late.unwrap_err());
            assert!(matches!(late, Error::TransactionClosed { .. }), "{late:?}");
        }
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    c_17 on sqlite, postgres, mysql;
    "joined branches of one scope take turns on its connection";
    async fn<B>(bed) {
        let branch = async |branch: i64| {
            let mut pids = Vec::new();
            for id in 10 * branch..10 * branch + 5 {
                add(&bed.db, id).await?;
                let sql = format!("select id from t where id = {id}");
                assert_eq!(B::ints(&bed.db, &sql).await?, [id]);
                pids.push(bed.pid().await?);
            }
            Ok::<_, Error>(pids)
        };
        let pids = bed.db.transaction(async || {
            let (a, b, c) = tokio::join!(branch(1), branch(2), branch(3));
            assert!(bed.rows().await.is_empty());
            Ok::<_, Error>([a?, b?, c?].concat())
        });
        let mut pids = pids.await.unwrap();
        pids.dedup();
        assert_eq!(pids.len(), 1);
        assert_eq!(bed.rows().await.len(), 15);
    }
}

case! {
    c_18 on sqlite, postgres, mysql;
    "of joined savepoint scopes only the failed one's rows go";
    async fn<B>(bed) {
        bed.db
            .transaction(async || {
                bed.insert(1).await?;
                let (a, b, c) = tokio::join!(
                    add_nested(&bed.db, [11, 12], false),
                    add_nested(&bed.db, [21, 22], true),
                    add_nested(&bed.db, [31, 32], false),
                );
                a?;
                assert!(matches!(b, Err(Error::Database(sqlx::Error::RowNotFound))), "{b:?}");
                c?;
                Ok::<_, Error>(bed.insert(2).await?)
            })
            .await
            .unwrap();
        assert_eq!(bed.rows().await, [1, 2, 11, 12, 31, 32]);
    }
}

case! {
    c_19 on postgres, mysql; pool = 3;
    "joined RequiresNew branches are transactions of their own, at the same time";
    async fn<B>(bed) {
        let (both_wrote, both_looked) = (Barrier::new(2), Barrier::new(2));
        let branch = async |id: i64, fails: bool| {
            bed.db
                .transaction_with(NEW, async || {
                    bed.insert(id).await?;
                    both_wrote.wait().await;
                    assert_eq!(bed.visible().await?, [id]);
                    both_looked.wait().await;
                    if fails { Err(Error::OutsideScope) } else { Ok(bed.pid().await?) }
                })
                .await
        };
        bed.db
            .transaction(async || {
                bed.insert(1).await?;
                let outer = bed.pid().await?;
                let (a, b) = tokio::join!(branch(2, false), branch(3, true));
                assert_ne!(a?, outer);
                assert!(matches!(b, Err(Error::OutsideScope)), "{b:?}");
                assert_eq!(bed.rows().await, [2]);
                assert_eq!(bed.pid().await?, outer);
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    c_19_tight on postgres, mysql; pool = 2;
    "joined RequiresNew branches wait for each other where there is one connection for them";
    async fn<B>(bed) {
        bed.db
            .transaction(async || {
                bed.insert(1).await?;
                let branches = (2..6).map(|id| {
                    bed.db.transaction_with(NEW, async move || Ok::<_, Error>(bed.insert(id).await?))
                });
                join_all(branches).await.into_iter().collect::<Result<(), _>>()
            })
            .await
            .unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3, 4, 5]);
    }
}

case! {
    c_20 on sqlite, postgres, mysql; pool = 5;
    "fifty scopes in one task commit fifty times on five connections";
    async fn<B>(bed) {
        let mut scopes: FuturesUnordered<_> = (1..=50).map(|id| add(&bed.db, id)).collect();
        while let Some(scope) = scopes.next().await {
            scope.unwrap();
        }
        assert_eq!(bed.rows().await.len(), 50);
        assert!(bed.db.pool().size() <= 5);
    }
}

/// A scope that has updated row 1 and waits, to be dropped wherever the caller likes.
async fn open_scope<B: Backend>(db: Db<B>) -> BoxFuture<'static, Result<(), Error>> {
    let (wrote, mut has_written) = oneshot::channel();
    let mut scope: BoxFuture<'static, Result<(), Error>> = Box::pin(async move {
        db.transaction(async || {
            B::exec(&db, "update t set v = 'x' where id = 1").await?;
            wrote.send(()).unwrap();
            pending().await
        })
        .await
    });
    tokio::select! {
        ended = &mut scope => panic!("{ended:?}"),
        written = &mut has_written => written.unwrap(),
    }
    scope
}

case! {
    c_24 on sqlite, postgres, mysql;
    "a scope dropped on a thread without a runtime is rolled back";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (1)").await;
        let scope = open_scope(bed.db.clone()).await;
        assert!(!bed.free(1).await);
        std::thread::spawn(move || drop(scope)).join().expect("no panic");
        bed.db.drain().await;
        assert!(bed.free(1).await);
        assert_eq!(bed.control_texts("select v from t").await, ["NULL"]);
    }
}

case! {
    c_24_runtime_gone on sqlite, postgres, mysql;
    "a scope that outlives its runtime is dropped without a panic, and its connection closed";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (1)").await;
        let options = bed.options().clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            // A pool needs a runtime to be made in.
            let entered = runtime.enter();
            let db = Db::new(PoolOptions::<B>::new().connect_lazy_with(options));
            drop(entered);
            let scope = runtime.block_on(open_scope(db));
            drop(runtime);
            drop(scope);
        });
        tokio::task::spawn_blocking(|| thread.join()).await.unwrap().expect("no panic");
        until_free(bed).await;
        assert_eq!(bed.control_texts("select v from t").await, ["NULL"]);
    }
}

case! {
    c_25 on sqlite, postgres, mysql;
    "a panic in a spawned task's scope rolls back and goes on as itself";
    async fn<B>(bed) {
        let task = tokio::spawn({
            let bed = Arc::clone(bed);
            async move {
                bed.db
                    .transaction(async || {
                        bed.insert(1).await?;
                        assert!(!bed.db.is_in_transaction(), "the payload");
                        Ok::<_, Error>(())
                    })
                    .await
            }
        });
        let panic = task.await.unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"the payload"));
        bed.db.drain().await;
        assert!(bed.rows().await.is_empty());
        add(&bed.db, 1).await.unwrap();
    }
}

trait Service: Send + Sync {
    fn add(&self, id: i64) -> BoxFuture<'_, Result<(), Error>>;
}

struct Rows<B: Backend> {
    db: Db<B>,
}

impl<B: Backend> Rows<B> {
    #[transactional]
    async fn add_one(&self, id: i64) -> Result<(), Error> {
        insert(&self.db, id).await
    }
}

impl<B: Backend> Service for Rows<B> {
    fn add(&self, id: i64) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.add_one(id))
    }
}

fn assert_send<T: Send>(it: T) -> T {
    it
}

case! {
    c_26 on sqlite, postgres, mysql;
    "the futures of scopes are Send, as functions, as closures and behind a trait object";
    async fn<B>(bed) {
        assert_send(add(&bed.db, 1)).await.unwrap();
        assert_send(bed.db.transaction(async || add(&bed.db, 2).await)).await.unwrap();
        let mut tx = assert_send(assert_send(bed.db.begin()).await.unwrap());
        let inner = assert_send(assert_send(tx.begin()).await.unwrap());
        assert_send(inner.execute("insert into t (id) values (3)")).await.unwrap();
        assert_send(inner.commit()).await.unwrap();
        assert_send(tx.commit()).await.unwrap();
        let service: Arc<dyn Service> = Arc::new(Rows { db: bed.db.clone() });
        tokio::spawn(async move { service.add(4).await }).await.unwrap().unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3, 4]);
    }
}

/// Functions inside each other, as deep as a service may be.
mod deep {
    use tx_runtime::{Error, SqliteDb, transactional};

    #[transactional]
    pub(super) async fn request(db: &SqliteDb) -> Result<(), Error> {
        order(db).await
    }

    #[transactional(lock = "order")]
    async fn order(db: &SqliteDb) -> Result<(), Error> {
        lines(db).await
    }

    #[transactional(propagation = Nested)]
    async fn lines(db: &SqliteDb) -> Result<(), Error> {
        stock(db).await
    }

    #[transactional(propagation = Mandatory)]
    async fn stock(db: &SqliteDb) -> Result<(), Error> {
        reservation(db).await
    }

    #[transactional(propagation = Nested)]
    async fn reservation(db: &SqliteDb) -> Result<(), Error> {
        audit(db).await
    }

    #[transactional(propagation = Supports)]
    async fn audit(db: &SqliteDb) -> Result<(), Error> {
        closures(db).await
    }

    async fn closures(db: &SqliteDb) -> Result<(), Error> {
        db.transaction(async || {
            db.savepoint(async || {
                sqlx::query("insert into t (id) values (1)")
                    .execute(db)
                    .await?;
                Ok::<_, Error>(())
            })
            .await
        })
        .await
    }

    /// The same without a function in between.
    pub(super) async fn only_closures(db: &SqliteDb) -> Result<(), Error> {
        db.transaction(async || {
            db.savepoint(async || {
                db.transaction(async || {
                    db.locked("k", async || {
                        db.savepoint(async || {
                            db.transaction(async || {
                                sqlx::query("insert into t (id) values (2)")
                                    .execute(db)
                                    .await?;
                                Ok::<_, Error>(())
                            })
                            .await
                        })
                        .await
                    })
                    .await
                })
                .await
            })
            .await
        })
        .await
    }
}

// That it compiles is the point: the limit is the compiler's, on the depth of types.
#[tokio::test]
async fn c_26_deep() {
    let Some(bed) = Bed::<sqlx::Sqlite>::new().await else {
        return;
    };
    let db = bed.db.clone();
    let spawned = tokio::spawn(async move {
        deep::request(&db).await?;
        deep::only_closures(&db).await
    });
    spawned.await.unwrap().unwrap();
    assert_eq!(bed.rows().await, [1, 2]);
    bed.assert_clean().await;
}

case! {
    c_28 on postgres, mysql;
    "a forgotten scope keeps its transaction until its connection ends, and blocks no one else";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (1)").await;
        let pool = PoolOptions::<B>::new()
            .max_connections(2)
            .connect_lazy_with(bed.options().clone());
        let db = Db::new(pool);
        let (wrote, has_written) = oneshot::channel();
        let mut scope = Box::pin(async {
            db.transaction(async || {
                B::exec(&db, "update t set v = 'x' where id = 1").await?;
                wrote.send(B::int(&db, B::PID).await?).unwrap();
                pending::<Result<(), Error>>().await
            })
            .await
        });
        let pid = tokio::select! {
            ended = &mut scope => panic!("{ended:?}"),
            pid = has_written => pid.unwrap(),
        };
        std::mem::forget(scope);
        // Nothing is under way that drain could wait for.
        timeout(PATIENCE, db.drain()).await.unwrap();
        assert!(!bed.free(1).await);
        add(&bed.db, 2).await.unwrap();
        bed.kill(pid).await;
        until_free(bed).await;
        assert_eq!(bed.rows().await, [1, 2]);
        assert_eq!(bed.control_texts("select v from t where id = 1").await, ["NULL"]);
    }
}

/// Writes two rows and tells after each how far it is.
async fn add_in_stages<B: Backend>(
    db: &Db<B>,
    id: i64,
    stage: &watch::Sender<u64>,
) -> Result<(), Error> {
    db.transaction(async || {
        stage.send_replace(1);
        insert(db, id).await?;
        stage.send_replace(2);
        insert(db, 10_000 + id).await?;
        stage.send_replace(3);
        Ok(())
    })
    .await
}

case! {
    c_30 on sqlite, postgres, mysql;
    "of five hundred tasks aborted anywhere, each is stored as it was told, and whole";
    async fn<B>(bed) {
        let next_id = Arc::new(AtomicI64::new(0));
        let mut workers = JoinSet::new();
        for worker in 0..5_u64 {
            let (bed, next_id) = (Arc::clone(bed), Arc::clone(&next_id));
            workers.spawn(async move {
                let mut told = Vec::new();
                for run in 0..100_u64 {
                    let id = next_id.fetch_add(1, Ordering::Relaxed);
                    let (stage, mut reached) = watch::channel(0);
                    let bed = Arc::clone(&bed);
                    let task =
                        tokio::spawn(async move { add_in_stages(&bed.db, id, &stage).await });
                    // From before the first poll into COMMIT, and beyond its end.
                    let last = reached.wait_for(|stage| *stage >= run % 5).await.map(|it| *it);
                    if last.is_ok() {
                        for _ in 0..(run * 7 + worker * 13) % 40 {
                            tokio::task::yield_now().await;
                        }
                    }
                    task.abort();
                    let committed = match task.await {
                        Ok(outcome) => {
                            outcome.unwrap();
                            Some(true)
                        }
                        // It may have been aborted in its COMMIT: then both are right.
                        Err(aborted) if *reached.borrow() == 3 => {
                            assert!(aborted.is_cancelled());
                            None
                        }
                        Err(_) => Some(false),
                    };
                    told.push((id, committed));
                }
                told
            });
        }
        let told: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
        bed.db.drain().await;
        let rows = bed.rows().await;
        let mut counts = [0; 3];
        for (id, committed) in told {
            let stored = [id, 10_000 + id].map(|id| rows.binary_search(&id).is_ok());
            assert_eq!(stored[0], stored[1], "half of {id} is stored");
            if let Some(committed) = committed {
                assert_eq!(stored[0], committed, "{id} is not stored as it was told");
            }
            counts[committed.map_or(2, usize::from)] += 1;
        }
        assert!(counts[0] > 20 && counts[1] > 20, "{counts:?}");
    }
}
