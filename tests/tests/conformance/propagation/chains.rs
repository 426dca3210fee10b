//! P-36 to P-50: three scopes and more, recursion, many tasks, and what cannot be had.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tx_runtime::{Error, Propagation, TransactionOptions, transactional};
use tx_tests::{Backend, Bed, case};

use super::{AT_ONCE, Failure, early, inner, late, words};

/// How many tasks run side by side.
const TASKS: usize = 20;

#[transactional(db = bed.db)]
async fn required<B: Backend>(bed: &Bed<B>, id: i64, fails: bool) -> Result<(), Failure> {
    bed.insert(id).await?;
    if fails {
        return Err(Failure::Asked(id));
    }
    Ok(())
}

case! {
    p_36 on sqlite, postgres, mysql;
    "Required inside RequiresNew joins that one, not the suspended transaction";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            early(bed, 1).await?;
            let outer = if B::SERVER { bed.pid().await? } else { 0 };
            bed.db.transaction_with(inner(Propagation::RequiresNew), async || {
                bed.insert(2).await?;
                let new = bed.pid().await?;
                assert_ne!(new, outer);
                bed.db.transaction(async || {
                    assert_eq!(bed.pid().await?, new);
                    bed.insert(3).await?;
                    assert_eq!(bed.visible().await?, [2, 3]);
                    Ok::<_, Failure>(())
                }).await?;
                assert!(bed.rows().await.is_empty(), "its end commits nothing");
                Ok::<_, Failure>(())
            }).await?;
            assert_eq!(bed.rows().await, [2, 3]);
            late(bed, 1).await?;
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

case! {
    p_37 on sqlite, postgres, mysql;
    "Required inside NotSupported begins a transaction of its own";
    async fn<B>(bed) { begins_anew_under_not_supported(bed, Propagation::Required).await; }
}

case! {
    p_38 on sqlite, postgres, mysql;
    "Mandatory inside NotSupported has no transaction, although one is suspended";
    async fn<B>(bed) {
        let entered = Cell::new(false);
        bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.transaction_with(inner(Propagation::NotSupported), async || {
                let mandatory = inner(Propagation::Mandatory);
                let refused = bed.db.transaction_with(mandatory, async || {
                    entered.set(true);
                    Ok::<_, Failure>(())
                });
                let refused = refused.await;
                let Err(Failure::Transaction(Error::NoTransaction { .. })) = refused else {
                    panic!("{refused:?}");
                };
                Ok::<_, Failure>(())
            }).await?;
            assert!(!bed.db.is_rollback_only());
            bed.insert(3).await?;
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert!(!entered.get());
        assert_eq!(bed.rows().await, [1, 3]);
    }
}

case! {
    p_39 on sqlite, postgres, mysql;
    "Never inside NotSupported runs, although a transaction is suspended";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            early(bed, 1).await?;
            bed.db.transaction_with(inner(Propagation::NotSupported), async || {
                let never = async || Ok::<_, Failure>(bed.insert(2).await?);
                bed.db.transaction_with(inner(Propagation::Never), never).await
            }).await?;
            assert_eq!(bed.rows().await, [2]);
            late(bed, 1).await?;
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    p_40 on sqlite, postgres, mysql;
    "Nested inside NotSupported begins a transaction of its own";
    async fn<B>(bed) { begins_anew_under_not_supported(bed, Propagation::Nested).await; }
}

case! {
    p_40_wire on postgres, mysql;
    "Nested inside NotSupported is no savepoint on the suspended transaction";
    async fn<B>(bed, proxy) {
        begins_anew_under_not_supported(bed, Propagation::Nested).await;
        assert_eq!(words(proxy), ["BEGIN", "BEGIN", "COMMIT", "ROLLBACK"]);
        let lines: Vec<_> = proxy.events().into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines[1], lines[2]);
        assert_eq!(lines[0], lines[3]);
        assert_ne!(lines[0], lines[1]);
    }
}

case! {
    p_41 on sqlite, postgres, mysql;
    "Required inside Supports without a transaction commits when it ends";
    async fn<B>(bed) {
        bed.db.transaction_with(inner(Propagation::Supports), async || {
            bed.db.transaction(async || {
                bed.insert(1).await?;
                assert!(bed.rows().await.is_empty(), "a transaction, not autocommit");
                Ok::<_, Failure>(())
            }).await?;
            assert_eq!(bed.rows().await, [1], "while Supports still runs");
            assert!(!bed.db.is_in_transaction());
            Ok::<_, Failure>(())
        }).await.unwrap();
    }
}

case! {
    p_42 on sqlite, postgres, mysql; pool = 1;
    "RequiresNew inside Supports without a transaction needs one connection in all";
    async fn<B>(bed) {
        let failed = bed.db.transaction_with(inner(Propagation::Supports), async || {
            bed.insert(1).await?;
            bed.db.transaction_with(inner(Propagation::RequiresNew), async || {
                bed.insert(2).await?;
                assert_eq!(bed.rows().await, [1]);
                Ok::<_, Failure>(())
            }).await?;
            assert_eq!(bed.rows().await, [1, 2]);
            bed.insert(3).await?;
            assert_eq!(bed.rows().await, [1, 2, 3], "in autocommit as before");
            Err::<(), _>(Failure::Asked(7))
        });
        assert!(matches!(failed.await, Err(Failure::Asked(7))));
        assert_eq!(bed.rows().await, [1, 2, 3]);
        assert_eq!(bed.db.pool().size(), 1);
    }
}

case! {
    p_43 on sqlite, postgres, mysql;
    "Nested inside Supports without a transaction is a transaction, which its error undoes";
    async fn<B>(bed) {
        bed.db.transaction_with(inner(Propagation::Supports), async || {
            bed.insert(1).await?;
            let failed = bed.db.transaction_with(inner(Propagation::Nested), async || {
                bed.insert(2).await?;
                assert_eq!(bed.rows().await, [1]);
                Err::<(), _>(Failure::Asked(7))
            });
            assert!(matches!(failed.await, Err(Failure::Asked(7))));
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    p_44 on sqlite, postgres, mysql;
    "two functions called by one without an annotation are two transactions";
    async fn<B>(bed) {
        let plain = async || {
            required(bed, 1, false).await?;
            assert_eq!(bed.rows().await, [1]);
            required(bed, 2, true).await
        };
        assert!(matches!(plain().await, Err(Failure::Asked(2))));
        assert_eq!(bed.rows().await, [1]);
    }
}

#[transactional(db = bed.db)]
async fn required_deep<B: Backend>(bed: &Bed<B>, depth: i64) -> Result<(), Failure> {
    bed.insert(depth).await?;
    if depth > 1 {
        Box::pin(required_deep(bed, depth - 1)).await?;
    }
    Ok(())
}

#[transactional(db = bed.db, propagation = RequiresNew)]
async fn new_deep<B: Backend>(bed: &Bed<B>, depth: i64) -> Result<(), Failure> {
    early(bed, depth).await?;
    if depth > 1 {
        Box::pin(new_deep(bed, depth - 1)).await?;
    }
    // The inner ones have committed and nothing outside has.
    let committed = bed.rows().await;
    assert_eq!(committed, (1..depth).collect::<Vec<_>>());
    Ok(late(bed, depth).await?)
}

#[transactional(db = bed.db, propagation = Nested)]
async fn nested_deep<B: Backend>(bed: &Bed<B>, depth: i64) -> Result<(), Failure> {
    bed.insert(depth).await?;
    if depth > 1 {
        Box::pin(nested_deep(bed, depth - 1)).await?;
    }
    Ok(())
}

case! {
    p_45 on sqlite, postgres, mysql;
    "recursion in every mode ends and stores what it should";
    async fn<B>(bed) {
        required_deep(bed, 5).await.unwrap();
        assert_eq!(bed.rows().await, (1..=5).collect::<Vec<_>>());
        bed.control("delete from t").await;
        new_deep(bed, 3).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3]);
        bed.control("delete from t").await;
        nested_deep(bed, 50).await.unwrap();
        assert_eq!(bed.rows().await, (1..=50).collect::<Vec<_>>());
    }
}

case! {
    p_45_wire on postgres, mysql;
    "recursion is one transaction, one for each call, or one with a savepoint for each call";
    async fn<B>(bed, proxy) {
        required_deep(bed, 5).await.unwrap();
        assert_eq!(words(proxy), ["BEGIN", "COMMIT"]);

        bed.control("delete from t").await;
        proxy.clear();
        new_deep(bed, 3).await.unwrap();
        let expected = ["BEGIN", "BEGIN", "BEGIN", "COMMIT", "COMMIT", "COMMIT"];
        assert_eq!(words(proxy), expected);
        let lines: Vec<_> = proxy.events().into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines[..3].iter().collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(lines[..3], [lines[5], lines[4], lines[3]]);

        bed.control("delete from t").await;
        proxy.clear();
        nested_deep(bed, 50).await.unwrap();
        let words = words(proxy);
        let counts = ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"]
            .map(|word| words.iter().filter(|it| **it == word).count());
        assert_eq!(counts, [1, 49, 49, 1]);
        assert_eq!(words.len(), 100);
    }
}

#[transactional(db = bed.db)]
async fn meets_the_others<B: Backend>(
    bed: &Bed<B>,
    id: i64,
    barrier: &Barrier,
) -> Result<i64, Failure> {
    bed.insert(id).await?;
    barrier.wait().await;
    // All have written, and none has committed.
    assert_eq!(bed.visible().await?, [id]);
    let pid = bed.pid().await?;
    barrier.wait().await;
    Ok(pid)
}

case! {
    // One connection is kept free for chains that need a second one.
    p_47 on postgres, mysql; pool = 21;
    "tasks side by side have a transaction each and see nothing of the others";
    async fn<B>(bed) {
        let barrier = Arc::new(Barrier::new(TASKS));
        let mut tasks = JoinSet::new();
        for id in 1..=20 {
            let (bed, barrier) = (Arc::clone(bed), Arc::clone(&barrier));
            tasks.spawn(async move { meets_the_others(&bed, id, &barrier).await.unwrap() });
        }
        let pids: BTreeSet<_> = tasks.join_all().await.into_iter().collect();
        assert_eq!(pids.len(), TASKS);
        assert_eq!(bed.rows().await, (1..=20).collect::<Vec<_>>());
    }
}

#[transactional(db = bed.db)]
async fn is_alone<B: Backend>(bed: &Bed<B>, id: i64, writing: &AtomicUsize) -> Result<(), Failure> {
    bed.insert(id).await?;
    assert_eq!(writing.fetch_add(1, Ordering::SeqCst), 0, "two at once");
    // Nobody's row is seen before it is committed.
    let mut expected = bed.rows().await;
    expected.push(id);
    expected.sort_unstable();
    assert_eq!(bed.visible().await?, expected);
    tokio::task::yield_now().await;
    writing.fetch_sub(1, Ordering::SeqCst);
    Ok(())
}

case! {
    p_47_sqlite on sqlite;
    "tasks side by side take turns as the one writer";
    async fn<B>(bed) {
        let writing = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for id in 1..=20 {
            let (bed, writing) = (Arc::clone(bed), Arc::clone(&writing));
            tasks.spawn(async move { is_alone(&bed, id, &writing).await.unwrap() });
        }
        assert_eq!(tasks.join_all().await.len(), TASKS);
        assert_eq!(bed.rows().await, (1..=20).collect::<Vec<_>>());
    }
}

/// A bed whose connections wait for a row lock for a second at most.
async fn impatient<B: Backend>() -> Option<Bed<B>> {
    let limit = match B::LABEL {
        "mysql" => "set innodb_lock_wait_timeout = 1",
        _ => "set lock_timeout = '1s'",
    };
    let set = move |pool: sqlx::pool::PoolOptions<B>| {
        pool.max_connections(4).after_connect(move |connection, _| {
            Box::pin(async move { B::raw(B::on(connection), limit).await.map(drop) })
        })
    };
    Bed::build(set, |builder| builder).await
}

case! {
    p_49 on postgres, mysql; bed = impatient::<B>();
    "RequiresNew that waits for its own caller's row fails by the server's lock timeout, alone";
    async fn<B>(bed) {
        bed.control("insert into t (id, v) values (1, 'before')").await;
        bed.db.transaction(async || {
            B::exec(&bed.db, "update t set v = 'outer' where id = 1").await?;
            let waits = bed.db.transaction_with(inner(Propagation::RequiresNew), async || {
                B::exec(&bed.db, "update t set v = 'inner' where id = 1").await?;
                Ok::<_, Failure>(())
            });
            let waited = timeout(AT_ONCE, waits).await.expect("a bounded wait");
            let Err(Failure::Transaction(Error::Database(sqlx::Error::Database(error)))) = waited
            else {
                panic!("{waited:?}");
            };
            let code = if B::LABEL == "mysql" { "HY000" } else { "55P03" };
            assert_eq!(error.code().as_deref(), Some(code), "{error}");
            assert!(!bed.db.is_rollback_only());
            bed.insert(2).await?;
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.control_texts("select v from t where id = 1").await, ["outer"]);
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    p_49_sqlite on sqlite;
    "RequiresNew that would wait for its own caller's write lock is refused at once";
    async fn<B>(bed) {
        bed.control("insert into t (id, v) values (1, 'before')").await;
        bed.db.transaction(async || {
            B::exec(&bed.db, "update t set v = 'outer' where id = 1").await?;
            let waits = bed.db.transaction_with(inner(Propagation::RequiresNew), async || {
                B::exec(&bed.db, "update t set v = 'inner' where id = 1").await?;
                Ok::<_, Failure>(())
            });
            let refused = timeout(AT_ONCE, waits).await.expect("no waiting");
            let second = matches!(refused, Err(Failure::Transaction(Error::SecondWriter { .. })));
            assert!(second, "{refused:?}");
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.control_texts("select v from t where id = 1").await, ["outer"]);
    }
}

case! {
    p_50 on sqlite, postgres, mysql;
    "Isolated without a lock is refused before its body, inside a transaction and outside";
    async fn<B>(bed) {
        let entered = Cell::new(false);
        let refused = async || {
            let isolated = bed.db.transaction_with(inner(Propagation::Isolated), async || {
                entered.set(true);
                Ok::<_, Failure>(bed.insert(9).await?)
            });
            let refused = isolated.await;
            let Err(Failure::Transaction(Error::NoLockHeld { function })) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(function.name(), "inner");
        };
        refused().await;
        assert_eq!(bed.db.pool().size(), 0);
        bed.db.transaction(async || {
            bed.insert(1).await?;
            refused().await;
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert!(!entered.get());
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    p_50_begin on sqlite, postgres, mysql;
    "a Tx of a mode without a transaction says that it cannot undo what was stored";
    async fn<B>(bed) {
        for (id, mode) in (1..).zip([
            Propagation::Supports,
            Propagation::NotSupported,
            Propagation::Never,
        ]) {
            let options = TransactionOptions::new().propagation(mode).name("begin");
            let tx = bed.db.begin_with(options).await.unwrap();
            tx.within(async || bed.insert(id).await).await.unwrap();
            assert!(bed.rows().await.contains(&id), "{mode}");
            let refused = tx.rollback().await;
            assert!(matches!(refused, Err(Error::NoTransaction { .. })), "{mode}: {refused:?}");
        }
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

/// `mode` inside `NotSupported` has a transaction of its own that outlives the failure of
/// the suspended one.
async fn begins_anew_under_not_supported<B: Backend>(bed: &Bed<B>, mode: Propagation) {
    let failed = bed.db.transaction(async || {
        early(bed, 1).await?;
        let outer = if B::SERVER { bed.pid().await? } else { 0 };
        bed.db
            .transaction_with(inner(Propagation::NotSupported), async || {
                bed.db
                    .transaction_with(inner(mode), async || {
                        assert!(bed.db.is_in_transaction());
                        bed.insert(3).await?;
                        assert_ne!(bed.pid().await?, outer);
                        assert!(bed.rows().await.is_empty(), "not autocommit");
                        Ok::<_, Failure>(())
                    })
                    .await?;
                assert_eq!(bed.rows().await, [3]);
                Ok::<_, Failure>(())
            })
            .await?;
        late(bed, 1).await?;
        Err::<(), _>(Failure::Asked(7))
    });
    assert!(matches!(failed.await, Err(Failure::Asked(7))));
    assert_eq!(bed.rows().await, [3]);
}
