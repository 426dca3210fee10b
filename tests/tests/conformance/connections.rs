//! Economy of connections, pools too small for their callers, and what is left in a pool.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::{Connection as _, Pool};
use tokio::sync::{Barrier, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tx_runtime::{Db, Error, Isolation, Outcome, Propagation, TransactionOptions, transactional};
use tx_tests::{Backend, Bed, all_acquired, case, pending_once, poll_n};

const NEW: TransactionOptions = TransactionOptions::new()
    .propagation(Propagation::RequiresNew)
    .name("new");

const MODES: [Propagation; 7] = [
    Propagation::Required,
    Propagation::RequiresNew,
    Propagation::Nested,
    Propagation::Mandatory,
    Propagation::Supports,
    Propagation::NotSupported,
    Propagation::Never,
];

/// A pool of plain sqlx on the bed's database, whose callers soon give up, and all of its
/// connections: they are opened in whatever time that takes.
async fn plain_pool<B: Backend>(bed: &Bed<B>, max: u32) -> (Pool<B>, Vec<PoolConnection<B>>) {
    let pool = PoolOptions::new()
        .max_connections(max)
        .acquire_timeout(Duration::from_millis(500))
        .connect_lazy_with(bed.options().clone());
    let connections = all_acquired(&pool).await;
    (pool, connections)
}

/// Whether what began then has ended without a wait for a connection that does not come: such a
/// wait takes as long as the pool lets it.
fn has_not_waited<B: Backend>(bed: &Bed<B>, started: Instant) -> bool {
    started.elapsed() < bed.db.pool().options().get_acquire_timeout()
}

async fn insert<B: Backend>(db: &Db<B>, id: i64) -> Result<(), Error> {
    let sql = format!("insert into t (id) values ({id})");
    Ok(B::exec(db, &sql).await.map(drop)?)
}

#[transactional(propagation = RequiresNew, name = "audit")]
async fn audit<B: Backend>(db: &Db<B>, id: i64) -> Result<(), Error> {
    insert(db, id).await
}

/// The same choices in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> usize {
        // Knuth's MMIX generator; its upper bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % sides).expect("few sides")
    }
}

#[derive(Clone, Copy)]
enum End {
    Ok,
    Err,
    Panic,
}

/// Scopes in `modes`, outermost first, each with a statement of its own.
fn call<'a, B: Backend>(
    db: &'a Db<B>,
    modes: &'a [Propagation],
    ids: &'a [i64],
    end: End,
) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        let [mode, inner @ ..] = modes else {
            pending_once().await;
            return match end {
                End::Ok => Ok(()),
                End::Err => Err(Error::Database(sqlx::Error::RowNotFound)),
                End::Panic => panic!("as the dice fell"),
            };
        };
        let options = TransactionOptions::new().propagation(*mode);
        db.transaction_with(options, async || {
            insert(db, ids[0]).await?;
            call(db, inner, &ids[1..], end).await
        })
        .await
    })
}

case! {
    x_01 on sqlite, postgres, mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.nesting_depth(3));
    "a thousand calls of all modes, depths and endings leave the pool whole";
    async fn<B>(bed) {
        let next_id = Arc::new(AtomicI64::new(1));
        let mut workers = JoinSet::new();
        for seed in 0..8 {
            let (bed, next_id) = (Arc::clone(bed), Arc::clone(&next_id));
            workers.spawn(async move {
                let mut dice = Dice(seed);
                let mut stored: Vec<i64> = Vec::new();
                let mut errors = Vec::new();
                for _ in 0..125 {
                    let depth = 1 + dice.roll(3);
                    let modes: Vec<_> = (0..depth).map(|_| MODES[dice.roll(7)]).collect();
                    let first = next_id.fetch_add(3, Ordering::Relaxed);
                    let ids = [first, first + 1, first + 2];
                    let (end, polls) = match dice.roll(6) {
                        0..3 => (End::Ok, usize::MAX),
                        3 => (End::Err, usize::MAX),
                        4 => (End::Panic, usize::MAX),
                        _ => (End::Ok, 1 + dice.roll(12)),
                    };
                    let work = poll_n(call(&bed.db, &modes, &ids, end), polls);
                    match AssertUnwindSafe(work).catch_unwind().await {
                        Ok((Some(Ok(())), _)) => stored.extend(&ids[..depth]),
                        Ok((Some(Err(error)), _)) => errors.push(error),
                        Ok((None, _)) | Err(_) => {}
                    }
                }
                (stored, errors)
            });
        }
        let mut stored = Vec::new();
        while let Some(worker) = workers.join_next().await {
            let (ids, errors) = worker.unwrap();
            stored.extend(ids);
            for error in errors {
                let starved = matches!(
                    error,
                    Error::ConnectionTimeout { .. }
                        | Error::PoolTooSmall { .. }
                        | Error::TurnTimeout { .. }
                        | Error::Begin { .. }
                );
                assert!(!starved, "{error}");
            }
        }
        bed.db.drain().await;
        let rows = bed.rows().await;
        assert!(stored.len() > 200, "{} of the calls succeeded", stored.len());
        for id in stored {
            assert!(rows.binary_search(&id).is_ok(), "{id} was told to be stored");
        }
    }
}

case! {
    x_02 on sqlite, postgres, mysql; pool = 1;
    "RequiresNew inside of a begun scope on a pool of one is refused at once";
    async fn<B>(bed) {
        // The evil: it waits for itself until the time is up.
        let (plain, mut connections) = plain_pool(bed, 1).await;
        let outer = connections[0].begin().await.unwrap();
        let inner = plain.acquire().await;
        assert!(matches!(inner, Err(sqlx::Error::PoolTimedOut)));
        outer.rollback().await.unwrap();
        drop(connections);
        plain.close().await;

        let outer = TransactionOptions::new().name("register");
        bed.db
            .transaction_with(outer, async || {
                bed.insert(1).await?;
                let started = Instant::now();
                let refused = audit(&bed.db, 2).await.unwrap_err();
                assert!(has_not_waited(bed, started), "{:?}", started.elapsed());
                match &refused {
                    Error::PoolTooSmall { size: 1, needed: 2, .. } if B::SERVER => {}
                    Error::SecondWriter { .. } if !B::SERVER => {}
                    other => panic!("{other:?}"),
                }
                let text = refused.to_string();
                assert!(text.contains("`audit`") && text.contains("`register`"), "{text}");
                assert_eq!(refused.outcome(), Outcome::RolledBack);
                // The outer scope is none the worse for it.
                bed.insert(3).await?;
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        assert_eq!(bed.rows().await, [1, 3]);
        assert_eq!(bed.db.pool().size(), 1);
    }
}

/// Writes in an outer scope, tells `begun`, waits for `gate`, and writes in an inner one.
#[transactional]
async fn outer_then_inner<B: Backend>(
    db: &Db<B>,
    id: i64,
    begun: mpsc::UnboundedSender<()>,
    mut gate: watch::Receiver<bool>,
) -> Result<Result<(), Error>, Error> {
    insert(db, id).await?;
    let _ = begun.send(());
    gate.wait_for(|open| *open)
        .await
        .expect("the gate is there");
    Ok(audit(db, 10 + id).await)
}

/// Four chains at once; `expected` of them are let in before the inner scopes start.
async fn four_chains<B: Backend>(bed: &Arc<Bed<B>>, expected: usize) -> Vec<Result<(), Error>> {
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let (gate, at_gate) = watch::channel(false);
    let mut chains = JoinSet::new();
    for id in 1..=4 {
        let (bed, begun, at_gate) = (Arc::clone(bed), begun.clone(), at_gate.clone());
        chains.spawn(async move { outer_then_inner(&bed.db, id, begun, at_gate).await });
    }
    for _ in 0..expected {
        has_begun.recv().await.unwrap();
    }
    // A runtime that lets everyone in has all four holding a connection by now.
    let further = timeout(Duration::from_millis(300), has_begun.recv()).await;
    assert!(
        further.is_err(),
        "one connection must be kept for inner scopes"
    );
    gate.send(true).unwrap();
    let mut inner = Vec::new();
    while let Some(chain) = chains.join_next().await {
        inner.push(chain.unwrap().unwrap());
    }
    inner
}

case! {
    x_03 on postgres, mysql;
    "as many chains as connections, each with a RequiresNew inside, all finish";
    async fn<B>(bed) {
        // The evil: everyone holds one and waits for a second; none is left.
        let (plain, connections) = plain_pool(bed, 4).await;
        let all_refused = Barrier::new(4);
        let chains = connections.into_iter().map(async |mut connection| {
            let outer = connection.begin().await.unwrap();
            let inner = plain.acquire().await;
            all_refused.wait().await;
            outer.rollback().await.unwrap();
            matches!(inner, Err(sqlx::Error::PoolTimedOut))
        });
        assert_eq!(join_all(chains).await, [true; 4]);
        plain.close().await;

        let started = Instant::now();
        for inner in four_chains(bed, 3).await {
            inner.unwrap();
        }
        assert!(has_not_waited(bed, started), "{:?}", started.elapsed());
        assert_eq!(bed.rows().await, [1, 2, 3, 4, 11, 12, 13, 14]);
        assert_eq!(bed.db.pool().size(), 4);
    }
}

case! {
    x_03_single_writer on sqlite;
    "on SQLite the chains take turns, and each inner one is refused at once";
    async fn<B>(bed) {
        for inner in four_chains(bed, 1).await {
            assert!(matches!(inner, Err(Error::SecondWriter { .. })), "{inner:?}");
        }
        assert_eq!(bed.rows().await, [1, 2, 3, 4]);
    }
}

case! {
    x_04 on postgres, mysql; pool = 2;
    "a pool of two serves a chain of two transactions";
    async fn<B>(bed) {
        bed.db
            .transaction(async || {
                bed.insert(1).await?;
                let outer = bed.pid().await?;
                bed.db
                    .transaction_with(NEW, async || {
                        bed.insert(2).await?;
                        assert_ne!(bed.pid().await?, outer);
                        Ok::<_, Error>(())
                    })
                    .await?;
                assert_eq!(bed.rows().await, [2]);
                assert_eq!(bed.pid().await?, outer);
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

/// Transactions inside each other, `depth` of them; the innermost result.
fn nest<B: Backend>(db: &Db<B>, depth: i64) -> BoxFuture<'_, Result<(), Error>> {
    Box::pin(async move {
        db.transaction_with(NEW, async || {
            insert(db, depth).await?;
            if depth > 1 {
                nest(db, depth - 1).await?;
            }
            Ok(())
        })
        .await
    })
}

case! {
    x_05 on postgres, mysql; pool = 2;
    "a chain deeper than the pool is refused with the size that it needs";
    async fn<B>(bed) {
        let refused = nest(&bed.db, 3).await.unwrap_err();
        assert!(
            matches!(refused, Error::PoolTooSmall { size: 2, needed: 3, .. }),
            "{refused:?}"
        );
        assert!(refused.to_string().contains("at least 3"), "{refused}");
        assert!(bed.rows().await.is_empty());
        nest(&bed.db, 2).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    x_05_undeclared on postgres, mysql; pool = 3;
    "a chain deeper than declared works where the pool has room for it";
    async fn<B>(bed) {
        nest(&bed.db, 3).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

case! {
    x_06 on postgres, mysql;
    "the pool itself is autocommit on purpose, and no part of the scope";
    async fn<B>(bed) {
        let failed = bed.db.transaction(async || {
            bed.insert(1).await?;
            B::exec(B::pool(bed.db.pool()), "insert into t (id) values (2)").await?;
            assert_eq!(bed.rows().await, [2]);
            assert_eq!(bed.visible().await?.first(), Some(&1));
            Err::<(), _>(Error::OutsideScope)
        });
        assert!(matches!(failed.await, Err(Error::OutsideScope)));
        assert_eq!(bed.rows().await, [2]);
    }
}

case! {
    x_08 on sqlite, postgres, mysql; pool = 1;
    "a transaction that somebody left open in the pool is ended, not joined";
    async fn<B>(bed) {
        for (id, isolation) in [(1, None), (2, Some(Isolation::Serializable))] {
            let mut taken = bed.db.pool().acquire().await.unwrap();
            B::raw(B::on(&mut taken), "BEGIN").await.unwrap();
            B::exec(B::on(&mut taken), "insert into t (id) values (8)").await.unwrap();
            drop(taken);
            // The evil: an autocommitted statement is told to be stored, and is not.
            B::exec(B::pool(bed.db.pool()), "insert into t (id) values (9)").await.unwrap();
            assert!(!bed.rows().await.contains(&9));

            let options = TransactionOptions::new();
            let options = isolation.map_or(options.clone(), |level| options.isolation(level));
            bed.db
                .transaction_with(options, async || {
                    assert!(!bed.visible().await?.contains(&8));
                    Ok::<_, Error>(bed.insert(id).await?)
                })
                .await
                .unwrap();
            assert_eq!(bed.rows().await, (1..=id).collect::<Vec<_>>());
        }
    }
}

case! {
    x_09 on sqlite, postgres, mysql; pool = 1;
    "NotSupported without a statement needs no second connection";
    async fn<B>(bed) {
        bed.db
            .transaction(async || {
                bed.insert(1).await?;
                let none = TransactionOptions::new().propagation(Propagation::NotSupported);
                let inside = bed
                    .db
                    .transaction_with(none, async || Ok::<_, Error>(bed.db.is_in_transaction()))
                    .await?;
                assert!(!inside);
                Ok::<_, Error>(bed.insert(2).await?)
            })
            .await
            .unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
        assert_eq!(bed.db.pool().size(), 1);
    }
}

case! {
    x_10 on postgres, mysql;
    bed = Bed::<B>::build(
        |pool| pool.max_connections(2).acquire_timeout(Duration::from_secs(1)),
        |builder| builder,
    );
    "a chain that waited for its second connection in vain is told who holds the first";
    async fn<B>(bed) {
        // Both are open now, so that only the second one is waited for.
        let taken = all_acquired(bed.db.pool()).await.pop();
        let outer = TransactionOptions::new().name("register");
        bed.db
            .transaction_with(outer, async || {
                bed.insert(1).await?;
                let late = audit(&bed.db, 2).await.unwrap_err();
                match &late {
                    Error::ConnectionTimeout { outer: Some(outer), size: 2, waited, .. } => {
                        assert_eq!(outer.name(), "register");
                        assert!(*waited >= Duration::from_millis(900), "{waited:?}");
                    }
                    other => panic!("{other:?}"),
                }
                let text = late.to_string();
                assert!(text.contains("`audit`") && text.contains("`register`"), "{text}");
                assert!(late.is_retryable());
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        drop(taken);
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    x_10_queue on sqlite, postgres, mysql;
    bed = Bed::<B>::build(
        |pool| pool.max_connections(2).acquire_timeout(Duration::from_secs(1)),
        |builder| builder,
    );
    "who waited in vain behind a transaction of his own task is told what for";
    async fn<B>(bed) {
        drop(all_acquired(bed.db.pool()).await);
        let first = bed.db.begin().await.unwrap();
        first.within(async || bed.insert(1).await).await.unwrap();
        let second = bed.db.begin().await.unwrap();
        let late = Error::from(second.within(async || bed.insert(2).await).await.unwrap_err());
        let text = late.to_string();
        match late {
            // Nobody has the pool's other connection.
            Error::ConnectionTimeout { outer: None, size: 2, kept: 0, writer: true, .. } if !B::SERVER => {
                assert!(text.contains("one writer"), "{text}");
            }
            Error::ConnectionTimeout { outer: None, size: 2, kept: 1, writer: false, .. } if B::SERVER => {
                assert!(text.contains("of which 1 kept"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        let text = second.commit().await.unwrap_err().to_string();
        assert!(text.contains("although it called `commit`"), "{text}");
        first.commit().await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    x_13 on sqlite, postgres, mysql; pool = 1;
    "a pool of another Db is counted for itself, and its transactions are its own";
    async fn<B>(bed) {
        let other = Bed::<B>::with_pool(1).await.expect("the server is there");
        let failed = bed.db.transaction(async || {
            bed.insert(1).await?;
            let lost = Error::from(other.insert(1).await.unwrap_err());
            assert!(matches!(lost, Error::OutsideScope), "{lost:?}");
            let man = TransactionOptions::new().propagation(Propagation::Mandatory);
            let none = other.db.transaction_with(man, async || Ok(())).await;
            assert!(matches!(none, Err(Error::NoTransaction { .. })), "{none:?}");
            audit(&other.db, 2).await?;
            assert_eq!(other.rows().await, [2]);
            assert!(!other.db.is_in_transaction());
            Err::<(), _>(Error::OutsideScope)
        });
        assert!(matches!(failed.await, Err(Error::OutsideScope)));
        assert!(bed.rows().await.is_empty());
        assert_eq!(other.rows().await, [2]);
        other.assert_clean().await;
        other.finish().await;
    }
}

case! {
    x_13_same_database on postgres, mysql; pool = 1;
    "two Dbs over two pools of one database have two transactions";
    async fn<B>(bed) {
        let pool = PoolOptions::<B>::new()
            .max_connections(1)
            .connect_lazy_with(bed.options().clone());
        let other = Db::new(pool);
        bed.db
            .transaction(async || {
                bed.insert(1).await?;
                other
                    .transaction(async || {
                        insert(&other, 2).await?;
                        assert_eq!(B::ints(&other, "select id from t").await?, [2]);
                        Ok::<_, Error>(bed.insert(3).await?)
                    })
                    .await?;
                assert_eq!(bed.rows().await, [2]);
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3]);
        other.pool().close().await;
    }
}

/// A `Db` of one's own over the bed's pool.
fn neighbour<B: Backend>(bed: &Bed<B>) -> Db<B> {
    Db::new(bed.db.pool().clone())
}

case! {
    x_13_same_pool on sqlite, postgres, mysql;
    "two Dbs over one pool have two transactions: nothing of one is in the other, and clones join";
    async fn<B>(bed) {
        let (clone, other) = (bed.db.clone(), neighbour(bed));
        bed.db
            .transaction(async || {
                assert!(clone.is_in_transaction() && !other.is_in_transaction());
                let refused = insert(&other, 1).await;
                assert!(matches!(refused, Err(Error::OutsideScope)), "{refused:?}");
                other
                    .transaction(async || insert(&other, 2).await)
                    .await?;
                clone
                    .savepoint(async || insert(&clone, 3).await)
                    .await?;
                bed.db.set_rollback_only("two is stored all the same")
            })
            .await
            .unwrap_err();
        assert_eq!(bed.rows().await, [2]);
    }
}

case! {
    x_13_same_pool_crowd on postgres, mysql;
    "chains through two Dbs over one pool, in both orders, all find their second connection";
    async fn<B>(bed) {
        let other = neighbour(bed);
        let arrived = Barrier::new(3);
        let chains = (1..=6).map(async |n| {
            let (outer, inner) = if n % 2 == 0 {
                (&bed.db, &other)
            } else {
                (&other, &bed.db)
            };
            outer
                .transaction(async || {
                    insert(outer, n).await?;
                    // As many as the pool has room for beside one that is kept free.
                    arrived.wait().await;
                    inner
                        .transaction(async || insert(inner, n + 10).await)
                        .await
                })
                .await
        });
        let chains = timeout(Duration::from_mins(1), join_all(chains));
        for told in chains.await.expect("the chains wait for each other") {
            told.unwrap();
        }
        assert_eq!(bed.rows().await.len(), 12);
    }
}

case! {
    x_13_same_pool_writer on sqlite;
    "a second Db over the pool is as little a second writer as the first is";
    async fn<B>(bed) {
        let other = neighbour(bed);
        let told = bed.db.transaction(async || {
            bed.insert(1).await?;
            other
                .transaction(async || insert(&other, 2).await)
                .await
        });
        let told = told.await;
        assert!(matches!(told, Err(Error::SecondWriter { .. })), "{told:?}");
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    x_14 on postgres; pool = 1;
    "SET LOCAL ends with the scope, committed or not; SET stays on its connection";
    async fn<B>(bed) {
        let show = async |expected: &str| {
            bed.db
                .transaction(async || {
                    let seen = B::texts(&bed.db, "show statement_timeout").await?;
                    assert_eq!(seen, [expected]);
                    Ok::<_, Error>(())
                })
                .await
                .unwrap();
        };
        for fails in [false, true] {
            let scope = bed.db.transaction(async || {
                B::exec(&bed.db, "set local statement_timeout = '9s'").await?;
                assert_eq!(B::texts(&bed.db, "show statement_timeout").await?, ["9s"]);
                if fails { Err(Error::OutsideScope) } else { Ok(()) }
            });
            assert_eq!(scope.await.is_err(), fails);
            show("0").await;
        }
        bed.db
            .transaction(async || {
                B::exec(&bed.db, "set statement_timeout = '9s'").await?;
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        show("9s").await;
    }
}
