//! Group S: savepoints, what they undo, and what undoes them.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};
use sqlx::Connection as _;
use tokio::sync::{Barrier, oneshot};
use tokio::task::JoinHandle;
use tx_runtime::{
    CauseKind, Error, Isolation, Outcome, Propagation, TransactionOptions, transactional,
};
use tx_tests::{Backend, Bed, Proxy, Shape, case, pending_once, poll_n};

/// What a body fails with on purpose.
fn on_purpose() -> Error {
    Error::Database(sqlx::Error::Protocol("on purpose".to_owned()))
}

fn is_on_purpose(error: &Error) -> bool {
    matches!(error, Error::Database(sqlx::Error::Protocol(text)) if text == "on purpose")
}

/// Inserts in a Nested scope, and fails if asked to.
#[transactional(db = bed.db, propagation = Nested, name = "nested")]
async fn nested<B: Backend>(bed: &Bed<B>, id: i64, fails: bool) -> Result<(), Error> {
    bed.insert(id).await?;
    if fails { Err(on_purpose()) } else { Ok(()) }
}

/// The same, with the failure caught.
async fn caught<B: Backend>(bed: &Bed<B>, id: i64) {
    let failed = nested(bed, id, true).await.unwrap_err();
    assert!(is_on_purpose(&failed), "{failed:?}");
}

/// The savepoint that a message sets, releases or rolls back to.
fn savepoint_names(proxy: &Proxy, first_words: &str) -> Vec<String> {
    let executed = proxy.executed().into_iter();
    // With a semicolon it is a message that commits.
    let alone = executed.filter(|(_, sql)| !sql.contains(';'));
    let names = alone.filter_map(|(_, sql)| sql.strip_prefix(first_words).map(str::to_owned));
    names.collect()
}

case! {
    s_01 on postgres, mysql;
    "one Nested scope after the other: every savepoint has a name of its own and is released";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || {
            bed.insert(0).await?;
            for id in 1..=9 {
                nested(bed, id, false).await?;
            }
            Ok::<_, Error>(())
        }).await.unwrap();
        let set = savepoint_names(proxy, "SAVEPOINT ");
        assert_eq!(set.len(), 9, "{:#?}", proxy.executed());
        assert_eq!(savepoint_names(proxy, "RELEASE SAVEPOINT "), set);
        let mut distinct = set.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 9, "{set:?}");
        let pairs = [(0, "SAVEPOINT"), (0, "RELEASE")].repeat(9);
        assert_eq!(proxy.events()[1..19], pairs);
        assert_eq!(bed.rows().await, (0..=9).collect::<Vec<_>>());
    }
}

case! {
    s_02 on sqlite, postgres, mysql;
    "a savepoint that was rolled back is gone, however many there were";
    async fn<B>(bed) {
        // Plain sqlx leaves it on the server.
        let mut evil = bed.db.pool().begin().await.unwrap();
        evil.begin().await.unwrap().rollback().await.unwrap();
        B::raw(B::on(&mut evil), "ROLLBACK TO SAVEPOINT _sqlx_savepoint_1").await.unwrap();
        evil.rollback().await.unwrap();

        bed.db.transaction(async || {
            bed.insert(1).await?;
            for turn in 1..=1000 {
                let failed: Result<(), _> = bed.db.savepoint(async || {
                    bed.insert(2).await?;
                    if turn == 1 {
                        // So that the name below is known to be the one.
                        B::raw(&bed.db, "ROLLBACK TO SAVEPOINT tx_scope_1").await?;
                    }
                    Err(on_purpose())
                }).await;
                assert!(is_on_purpose(&failed.unwrap_err()), "turn {turn}");
            }
            for old in ["tx_scope_1", "tx_scope_500", "tx_scope_1000"] {
                let gone = bed.db.savepoint(async || {
                    let sql = format!("ROLLBACK TO SAVEPOINT {old}");
                    Ok::<_, Error>(B::raw(&bed.db, &sql).await?)
                });
                let gone = gone.await;
                let Err(Error::Database(error)) = &gone else { panic!("{gone:?}") };
                let text = error.to_string().to_lowercase();
                assert!(text.contains("savepoint"), "{text}");
            }
            bed.insert(3).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 3]);
    }
}

case! {
    s_03 on sqlite, postgres, mysql;
    "after a Nested scope was undone, the outer goes on writing, and that is stored";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            caught(bed, 2).await;
            bed.insert(3).await?;
            // The id is free again.
            bed.insert(2).await?;
            caught(bed, 4).await;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

case! {
    s_04 on sqlite, postgres, mysql;
    "inside a Nested scope one may succeed and the next be undone";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.savepoint(async || {
                bed.insert(2).await?;
                nested(bed, 3, false).await?;
                caught(bed, 4).await;
                assert_eq!(bed.visible().await?, [1, 2, 3]);
                Ok::<_, Error>(())
            }).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

case! {
    s_05 on sqlite, postgres, mysql;
    "a Nested scope that fails takes those along that had succeeded inside it";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let failed: Result<(), _> = bed.db.savepoint(async || {
                bed.insert(2).await?;
                nested(bed, 3, false).await?;
                Err(on_purpose())
            }).await;
            assert!(is_on_purpose(&failed.unwrap_err()));
            assert_eq!(bed.visible().await?, [1]);
            bed.insert(4).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 4]);
    }
}

case! {
    s_07 on postgres, mysql;
    "a connection lost at RELEASE fails the Nested scope and dooms the outer";
    async fn<B>(bed, proxy) {
        for after in [false, true] {
            let trap = if after {
                proxy.cut_after("RELEASE")
            } else {
                proxy.cut_before("RELEASE")
            };
            let told = bed.db.transaction(async || {
                bed.insert(1).await?;
                let lost = nested(bed, 2, false).await;
                assert!(trap.has_sprung());
                let Err(Error::Savepoint { function, .. }) = &lost else { panic!("{lost:?}") };
                assert_eq!(function.name(), "nested");
                assert!(bed.db.is_rollback_only());
                let refused = bed.insert(3).await.map_err(Error::from);
                assert!(matches!(refused, Err(Error::Doomed { .. })), "{refused:?}");
                Ok::<_, Error>(())
            });
            let told = told.await;
            let Err(Error::UnexpectedRollback { by, cause, .. }) = &told else {
                panic!("{told:?}");
            };
            assert_eq!(by.name(), "nested");
            assert_eq!(cause.kind(), CauseKind::TransactionGone);
            assert!(bed.rows().await.is_empty());
            bed.clean().await.unwrap();
        }
    }
}

case! {
    s_07_rollback_to on postgres, mysql;
    "a connection lost at ROLLBACK TO leaves the Nested scope its error and dooms the outer";
    async fn<B>(bed, proxy) {
        let trap = proxy.cut_before("ROLLBACK TO");
        let told = bed.db.transaction(async || {
            bed.insert(1).await?;
            caught(bed, 2).await;
            assert!(trap.has_sprung());
            assert!(bed.db.is_rollback_only());
            Ok::<_, Error>(())
        });
        let told = told.await;
        assert!(matches!(told, Err(Error::UnexpectedRollback { .. })), "{told:?}");
        assert!(bed.rows().await.is_empty());
    }
}

const HEAVY: std::ops::Range<i64> = 100..160;

/// A scope on a task of its own that holds row 2, then wants row 1, and wins the deadlock:
/// MySQL spares who has written more, PostgreSQL who looks for deadlocks later.
fn opponent<B: Backend>(bed: &Arc<Bed<B>>, both_locked: &Arc<Barrier>) -> JoinHandle<()> {
    let (bed, both_locked) = (Arc::clone(bed), Arc::clone(both_locked));
    tokio::spawn(async move {
        let mut tx = bed.db.begin().await.unwrap();
        if B::LABEL == "postgres" {
            B::raw(&tx, "set local deadlock_timeout = '20s'")
                .await
                .unwrap();
        }
        for id in HEAVY {
            let sql = format!("insert into t (id) values ({id})");
            B::exec(&tx, &sql).await.unwrap();
        }
        let inner = tx.begin().await.unwrap();
        B::exec(&inner, "update t set v = 'opponent' where id = 2")
            .await
            .unwrap();
        both_locked.wait().await;
        B::exec(&inner, "update t set v = 'opponent' where id = 1")
            .await
            .unwrap();
        inner.commit().await.unwrap();
        tx.commit().await.unwrap();
    })
}

/// The rows for a deadlock, and nothing else.
async fn prepare_deadlock<B: Backend>(bed: &Bed<B>) {
    bed.control("delete from t").await;
    bed.control("insert into t (id) values (1), (2)").await;
}

async fn assert_only_opponent_wrote<B: Backend>(bed: &Bed<B>) {
    let expected: Vec<i64> = (1..=2).chain(HEAVY).collect();
    assert_eq!(bed.rows().await, expected);
    let written = bed.control_texts("select v from t where id < 3").await;
    assert_eq!(written, ["opponent"; 2]);
}

case! {
    s_08_evil on postgres, mysql;
    "plain sqlx, for comparison: a deadlock in a nested transaction, and Ok with nothing stored";
    async fn<B>(bed) {
        prepare_deadlock(bed).await;
        let both_locked = Arc::new(Barrier::new(2));
        let opponent = opponent(bed, &both_locked);
        let mut evil = bed.db.pool().begin().await.unwrap();
        B::exec(B::on(&mut evil), "insert into t (id) values (10)").await.unwrap();
        let mut inner = evil.begin().await.unwrap();
        B::exec(B::on(&mut inner), "update t set v = 'evil' where id = 1").await.unwrap();
        both_locked.wait().await;
        let deadlock = B::exec(B::on(&mut inner), "update t set v = 'evil' where id = 2").await;
        deadlock.unwrap_err();
        let undone = inner.rollback().await;
        if B::LABEL == "mysql" {
            undone.unwrap_err();
            // Said once more, and to the wrong statement.
            B::exec(B::on(&mut evil), "insert into t (id) values (11)").await.unwrap_err();
            evil.commit().await.unwrap();
            opponent.await.unwrap();
            assert_only_opponent_wrote(bed).await;
        } else {
            // Only PostgreSQL keeps what the outer did.
            undone.unwrap();
            evil.commit().await.unwrap();
            opponent.await.unwrap();
            assert!(bed.rows().await.contains(&10));
        }
    }
}

/// The deadlock inside a Nested scope, which passes the error on or swallows it.
async fn deadlock_in_nested<B: Backend>(bed: &Arc<Bed<B>>, swallows: bool) {
    prepare_deadlock(bed).await;
    let both_locked = Arc::new(Barrier::new(2));
    let opponent = opponent(bed, &both_locked);
    let told = bed.db.transaction(async || {
        bed.insert(10).await?;
        let nested = bed.db.savepoint(async || {
            B::exec(&bed.db, "update t set v = 'victim' where id = 1").await?;
            both_locked.wait().await;
            let deadlock = B::exec(&bed.db, "update t set v = 'victim' where id = 2").await;
            assert!(deadlock.is_err(), "the opponent was to win");
            if swallows {
                return Ok(());
            }
            deadlock?;
            Ok::<_, Error>(())
        });
        let nested = nested.await;
        match &nested {
            Err(Error::UnexpectedRollback { .. }) if swallows => {}
            Err(Error::Database(_)) if !swallows => {}
            _ => panic!("{nested:?}"),
        }
        assert!(nested.unwrap_err().is_retryable());
        assert!(
            bed.db.is_rollback_only(),
            "the server has rolled back all of it"
        );
        // The next statement is refused for the deadlock, not for a lost savepoint.
        let refused = bed.insert(11).await.map_err(Error::from);
        let Err(Error::Doomed { cause, .. }) = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!(cause.code(), Some(deadlock_code::<B>()));
        Ok::<_, Error>(())
    });
    let told = told.await;
    let Err(error @ Error::UnexpectedRollback { cause, .. }) = &told else {
        panic!("{told:?}");
    };
    assert_eq!(cause.kind(), CauseKind::TransactionGone);
    assert_eq!(cause.code(), Some(deadlock_code::<B>()));
    assert!(error.is_retryable());
    opponent.await.unwrap();
    assert_only_opponent_wrote(bed).await;
}

/// The SQLSTATE of a deadlock.
fn deadlock_code<B: Backend>() -> &'static str {
    if B::LABEL == "postgres" {
        "40P01"
    } else {
        "40001"
    }
}

case! {
    s_08 on postgres, mysql;
    "a deadlock in a Nested scope dooms the owner, which is told the cause and may be retried";
    async fn<B>(bed) {
        deadlock_in_nested(bed, false).await;
        deadlock_in_nested(bed, true).await;
    }
}

case! {
    s_10 on sqlite, postgres, mysql;
    "in a doomed outer a Nested scope is refused before its body, and the verdict stays";
    async fn<B>(bed) {
        let told = bed.db.transaction(async || {
            bed.insert(1).await?;
            let first = bed.insert(1).await.unwrap_err().to_string();
            let mut entered = false;
            let refused = bed.db.savepoint(async || {
                entered = true;
                Ok::<_, Error>(())
            });
            let refused = refused.await;
            assert!(
                matches!(&refused, Err(Error::Doomed { cause, .. }) if cause.to_string() == first),
                "{refused:?}"
            );
            assert!(!entered);
            Ok::<_, Error>(())
        });
        let told = told.await;
        assert!(
            matches!(&told, Err(Error::UnexpectedRollback { cause, .. }) if cause.code().is_some()),
            "{told:?}"
        );
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    s_10_wire on postgres, mysql;
    "a connection lost at SAVEPOINT fails the first statement that needed it and dooms the outer";
    async fn<B>(bed, proxy) {
        for after in [false, true] {
            let trap = if after {
                proxy.cut_after("SAVEPOINT")
            } else {
                proxy.cut_before("SAVEPOINT")
            };
            let told = bed.db.transaction(async || {
                bed.insert(1).await?;
                let lost = nested(bed, 2, false).await;
                assert!(trap.has_sprung());
                assert!(matches!(lost, Err(Error::Database(_))), "{lost:?}");
                assert!(bed.db.is_rollback_only());
                Ok::<_, Error>(())
            });
            let told = told.await;
            assert!(matches!(told, Err(Error::UnexpectedRollback { .. })), "{told:?}");
            assert!(bed.rows().await.is_empty());
            bed.clean().await.unwrap();
        }
    }
}

case! {
    s_11 on sqlite, postgres, mysql;
    "savepoints by hand: released, rolled back and dropped, each does what its name says";
    async fn<B>(bed) {
        let insert = |id: i64| format!("insert into t (id) values ({id})");
        let mut tx = bed.db.begin().await.unwrap();
        B::exec(&tx, &insert(1)).await.unwrap();

        let released = tx.begin().await.unwrap();
        B::exec(&released, &insert(2)).await.unwrap();
        released.commit().await.unwrap();

        let mut rolled_back = tx.begin().await.unwrap();
        B::exec(&rolled_back, &insert(3)).await.unwrap();
        let inner = rolled_back.begin().await.unwrap();
        B::exec(&inner, &insert(4)).await.unwrap();
        inner.commit().await.unwrap();
        rolled_back.rollback().await.unwrap();

        let dropped = tx.begin().await.unwrap();
        B::exec(&dropped, &insert(5)).await.unwrap();
        drop(dropped);

        assert_eq!(B::ints(&tx, "select id from t order by id").await.unwrap(), [1, 2]);
        assert!(bed.rows().await.is_empty());
        tx.commit().await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    s_11_raw on sqlite, postgres, mysql;
    "the user's own SAVEPOINT, ROLLBACK TO and RELEASE work inside a scope";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            B::raw(&bed.db, "SAVEPOINT mine").await?;
            bed.insert(2).await?;
            B::raw(&bed.db, "ROLLBACK TO SAVEPOINT mine").await?;
            assert_eq!(bed.visible().await?, [1]);
            bed.insert(3).await?;
            B::raw(&bed.db, "RELEASE SAVEPOINT mine").await?;
            bed.insert(4).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 3, 4]);
    }
}

case! {
    s_12 on sqlite, postgres, mysql;
    "a savepoint needs a transaction of this very Db";
    async fn<B>(bed) {
        let mut entered = false;
        let mut refused = bed.db.savepoint(async || {
            entered = true;
            Ok::<_, Error>(())
        }).await;
        assert!(matches!(refused, Err(Error::NoTransaction { .. })), "{refused:?}");

        let suspended = TransactionOptions::new().propagation(Propagation::NotSupported);
        refused = bed.db.transaction_with(suspended, async || {
            bed.db.savepoint(async || {
                entered = true;
                Ok::<_, Error>(())
            }).await
        }).await;
        assert!(matches!(refused, Err(Error::NoTransaction { .. })), "{refused:?}");

        // Another Db over the same pool is another Db.
        let other = tx_runtime::Db::new(bed.db.pool().clone());
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let refused = other.savepoint(async || {
                entered = true;
                Ok::<_, Error>(())
            }).await;
            assert!(matches!(refused, Err(Error::NoTransaction { .. })), "{refused:?}");
            Ok::<_, Error>(())
        }).await.unwrap();
        assert!(!entered);
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    s_13 on sqlite, postgres, mysql;
    "a savepoint that the user left open does not disturb the scope's end";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.savepoint(async || {
                bed.insert(2).await?;
                B::raw(&bed.db, "SAVEPOINT left_open").await?;
                bed.insert(3).await?;
                Ok::<_, Error>(())
            }).await?;
            let failed: Result<(), _> = bed.db.savepoint(async || {
                bed.insert(4).await?;
                B::raw(&bed.db, "SAVEPOINT left_open").await?;
                bed.insert(5).await?;
                Err(on_purpose())
            }).await;
            failed.unwrap_err();
            B::raw(&bed.db, "SAVEPOINT left_open").await?;
            bed.insert(6).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3, 6]);
    }
}

case! {
    s_14 on sqlite, postgres, mysql;
    "the names of sqlx's savepoints stay the user's";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            B::raw(&bed.db, "SAVEPOINT _sqlx_savepoint_1").await?;
            bed.insert(2).await?;
            nested(bed, 3, false).await?;
            caught(bed, 4).await;
            assert_eq!(bed.visible().await?, [1, 2, 3]);
            B::raw(&bed.db, "ROLLBACK TO SAVEPOINT _sqlx_savepoint_1").await?;
            assert_eq!(bed.visible().await?, [1]);
            nested(bed, 5, false).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 5]);
    }
}

/// Inserts the next id after the highest. Always the same text: with one text per row, each
/// statement took 45 ms on MySQL once there were more than sqlx's cache of prepared ones holds.
async fn insert_next<B: Backend>(bed: &Bed<B>) -> Result<(), Error> {
    let next = "insert into t (id) select coalesce(max(id) + 1, 0) from t";
    Ok(B::exec(&bed.db, next).await.map(drop)?)
}

const DEEP: i64 = 200;

/// Nests until `DEEP`; the innermost fails, and level `catches` swallows that.
fn dive<B: Backend>(
    bed: &Bed<B>,
    level: i64,
    catches: i64,
) -> LocalBoxFuture<'_, Result<(), Error>> {
    Box::pin(async move {
        let savepoint = bed.db.savepoint(async || {
            insert_next(bed).await?;
            if level == DEEP {
                return Err(on_purpose());
            }
            let inner = dive(bed, level + 1, catches).await;
            if level == catches { Ok(()) } else { inner }
        });
        savepoint.await
    })
}

/// Runs `body` on a thread for it. Every level is polled through those around it, which takes
/// more stack than a test's thread has where nothing is optimized.
fn with_large_stack(body: impl AsyncFnOnce() + Send) {
    let runtime = tokio::runtime::Handle::current();
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(32 << 20)
            .spawn_scoped(scope, || runtime.block_on(body()))
            .expect("a thread")
            .join()
            .expect("the body");
    });
}

case! {
    s_15 on sqlite, postgres, mysql;
    "200 savepoints inside each other: the part below the level that catches is undone";
    async fn<B>(bed) {
        for catches in [1, 100, DEEP - 1] {
            bed.control("delete from t").await;
            with_large_stack(async || {
                bed.db.transaction(async || {
                    insert_next(bed).await?;
                    dive(bed, 1, catches).await
                }).await.unwrap();
            });
            assert_eq!(bed.rows().await, (0..=catches).collect::<Vec<_>>());
        }
    }
}

case! {
    s_15_sequential on sqlite, postgres, mysql;
    "thousands of savepoints one after the other, a third of them undone";
    async fn<B>(bed) {
        // A server's round trips would make ten thousand slow.
        let last = if B::SERVER { 2_000 } else { 10_000 };
        bed.db.transaction(async || {
            insert_next(bed).await?;
            for turn in 1..=last {
                let ended = bed.db.savepoint(async || {
                    insert_next(bed).await?;
                    if turn % 3 == 0 { Err(on_purpose()) } else { Ok(()) }
                });
                assert_eq!(ended.await.is_err(), turn % 3 == 0);
            }
            Ok::<_, Error>(())
        }).await.unwrap();
        let kept = last - last / 3;
        assert!(bed.rows().await == (0..=kept).collect::<Vec<_>>(), "rows differ");
    }
}

case! {
    s_16 on postgres, mysql;
    "a Nested scope without a statement sends nothing";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let sent = proxy.log();
            for fails in [false, true] {
                let ended = bed.db.savepoint(async || {
                    bed.db.savepoint(async || Ok::<_, Error>(())).await?;
                    if fails { Err(on_purpose()) } else { Ok(()) }
                });
                assert_eq!(ended.await.is_err(), fails);
            }
            assert_eq!(proxy.log(), sent);
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(proxy.events(), [(0, "BEGIN"), (0, "COMMIT")]);
    }
}

case! {
    s_17 on sqlite, postgres, mysql;
    "a Nested scope that is the first thing in the outer is undone alone";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            caught(bed, 1).await;
            assert!(!bed.db.is_rollback_only());
            assert!(bed.visible().await?.is_empty());
            bed.insert(2).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [2]);

        bed.db.transaction(async || {
            nested(bed, 3, false).await?;
            caught(bed, 4).await;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [2, 3]);
    }
}

case! {
    s_19 on postgres, mysql;
    "a row locked in a Nested scope that was undone is free, but on MySQL not after other changes";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (1)").await;
        for changed_before in [false, true] {
            bed.db.transaction(async || {
                if changed_before {
                    bed.insert(2).await?;
                }
                let failed: Result<(), _> = bed.db.savepoint(async || {
                    B::exec(&bed.db, "update t set v = 'locked' where id = 1").await?;
                    assert!(!bed.free(1).await);
                    Err(on_purpose())
                }).await;
                assert!(is_on_purpose(&failed.unwrap_err()));
                let expected = B::LABEL == "postgres" || !changed_before;
                assert_eq!(bed.free(1).await, expected, "changed before: {changed_before}");
                Ok::<_, Error>(())
            }).await.unwrap();
            assert!(bed.free(1).await);
        }
    }
}

case! {
    s_20_evil on postgres;
    "plain sqlx, for comparison: after ROLLBACK TO a serialization failure comes again, then Ok";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (1)").await;
        let mut evil = bed.db.pool().begin().await.unwrap();
        let level = "set transaction isolation level serializable";
        B::raw(B::on(&mut evil), level).await.unwrap();
        B::ints(B::on(&mut evil), "select id from t").await.unwrap();
        bed.control("update t set v = 'other' where id = 1").await;
        let mut inner = evil.begin().await.unwrap();
        let update = "update t set v = 'evil' where id = 1";
        B::exec(B::on(&mut inner), update).await.unwrap_err();
        inner.rollback().await.unwrap();
        B::exec(B::on(&mut evil), update).await.unwrap_err();
        evil.commit().await.unwrap();
        assert_eq!(bed.control_texts("select v from t").await, ["other"]);
    }
}

case! {
    s_20 on postgres;
    "a serialization failure in a Nested scope dooms the owner at once, with a retryable cause";
    async fn<B>(bed) {
        for isolation in [Isolation::RepeatableRead, Isolation::Serializable] {
            bed.control("delete from t").await;
            bed.control("insert into t (id) values (1)").await;
            let options = TransactionOptions::new().isolation(isolation);
            let told = bed.db.transaction_with(options, async || {
                bed.insert(2).await?;
                assert_eq!(bed.visible().await?, [1, 2]);
                bed.control("update t set v = 'other' where id = 1").await;
                let failed = bed.db.savepoint(async || {
                    B::exec(&bed.db, "update t set v = 'ours' where id = 1").await?;
                    Ok::<_, Error>(())
                });
                assert!(failed.await.unwrap_err().is_retryable());
                assert!(bed.db.is_rollback_only());
                let refused = bed.insert(3).await.map_err(Error::from);
                let Err(error @ Error::Doomed { .. }) = &refused else { panic!("{refused:?}") };
                assert!(error.is_retryable());
                Ok::<_, Error>(())
            });
            let told = told.await;
            let Err(error @ Error::UnexpectedRollback { cause, .. }) = &told else {
                panic!("{told:?}");
            };
            assert_eq!(cause.code(), Some("40001"));
            assert!(error.is_retryable());
            assert_eq!(bed.rows().await, [1]);
            assert_eq!(bed.control_texts("select v from t").await, ["other"]);
        }
    }
}

case! {
    // MySQL checks no constraint at COMMIT.
    s_21 on sqlite, postgres;
    "a deferred constraint broken in a Nested scope that returned Ok fails at the owner's COMMIT";
    async fn<B>(bed) {
        let told = bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.savepoint(async || {
                B::exec(&bed.db, "insert into child (id, parent_id) values (1, 99)").await?;
                Ok::<_, Error>(())
            }).await.unwrap();
            assert!(!bed.db.is_rollback_only());
            Ok::<_, Error>(())
        });
        let told = told.await;
        assert!(matches!(told, Err(Error::Commit { .. })), "{told:?}");
        assert!(bed.rows().await.is_empty());
        assert!(bed.control_ints("select id from child").await.is_empty());
    }
}

case! {
    s_21_undone on sqlite, postgres;
    "a deferred constraint broken in a Nested scope that was undone does not disturb the COMMIT";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let failed: Result<(), _> = bed.db.savepoint(async || {
                B::exec(&bed.db, "insert into child (id, parent_id) values (1, 99)").await?;
                Err(on_purpose())
            }).await;
            failed.unwrap_err();
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

const DDL: &str = "create table made (id int)";

/// Whether the table of `DDL` is there.
async fn is_made<B: Backend>(bed: &Bed<B>) -> bool {
    let tables = "select cast(table_name as char) from information_schema.tables \
                  where table_schema = database()";
    bed.control_texts(tables).await.contains(&"made".to_owned())
}

case! {
    s_23 on mysql;
    "DDL in a Nested scope is not sent and dooms that scope alone";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let refused = bed.db.savepoint(async || {
                bed.insert(2).await?;
                Ok::<_, Error>(B::exec(&bed.db, DDL).await?)
            });
            let refused = refused.await;
            assert!(matches!(refused, Err(Error::ImplicitCommit { .. })), "{refused:?}");
            let swallowed = bed.db.savepoint(async || {
                bed.insert(3).await?;
                assert!(B::exec(&bed.db, DDL).await.is_err());
                Ok::<_, Error>(())
            });
            let swallowed = swallowed.await;
            assert!(matches!(swallowed, Err(Error::UnexpectedRollback { .. })), "{swallowed:?}");
            assert!(!bed.db.is_rollback_only());
            bed.insert(4).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 4]);
        assert!(!is_made(bed).await);
        assert!(!proxy.log().iter().any(|(_, sql)| sql.contains(DDL)));
    }
}

/// Statements that commit and do not look like it, with nothing behind them that could be harmed.
const COMMIT_AS_WELL: [&str; 7] = [
    "set password = password('')",
    "set default role none",
    "check table t",
    "backup stage start",
    "load index into cache t",
    "/*!50000 truncate table t */",
    "/*M! create table u (id int) */",
];

case! {
    s_23_unlikely on mysql;
    "other statements that commit are not sent either, and the scope rolls back";
    async fn<B>(bed) {
        for sql in COMMIT_AS_WELL {
            let told = bed.db.transaction(async || {
                bed.insert(1).await?;
                Ok::<_, Error>(B::raw(&bed.db, sql).await?)
            });
            let told = told.await;
            assert!(matches!(told, Err(Error::ImplicitCommit { .. })), "{sql}: {told:?}");
            assert!(bed.rows().await.is_empty(), "{sql}");
        }
    }
}

case! {
    s_23_outer on mysql;
    "DDL in a scope is not sent and dooms the scope";
    async fn<B>(bed, proxy) {
        let outer = TransactionOptions::new().name("outer");
        let told = bed.db.transaction_with(outer, async || {
            bed.insert(1).await?;
            let refused = B::exec(&bed.db, DDL).await.map_err(Error::from);
            let Err(Error::ImplicitCommit { function, .. }) = &refused else {
                panic!("{refused:?}");
            };
            assert_eq!(function.name(), "outer");
            let refused = bed.insert(2).await.map_err(Error::from);
            assert!(matches!(refused, Err(Error::Doomed { .. })), "{refused:?}");
            Ok::<_, Error>(())
        });
        let told = told.await;
        assert!(matches!(told, Err(Error::UnexpectedRollback { .. })), "{told:?}");
        assert!(bed.rows().await.is_empty());
        assert!(!is_made(bed).await);
        assert!(!proxy.log().iter().any(|(_, sql)| sql.contains(DDL)));
    }
}

/// DDL that the check of a statement's words does not see: `call slip()`.
async fn make_ddl_slip_through<B: Backend>(bed: &Bed<B>) {
    let sql = format!("create procedure slip() begin {DDL}; end");
    bed.control_raw(&sql).await;
}

case! {
    s_23_slipped_outer on mysql;
    "DDL that slips through commits behind the scope's back, and COMMIT says so";
    async fn<B>(bed) {
        make_ddl_slip_through(bed).await;
        // Plain sqlx: the rollback is Ok, and the row is there.
        let mut evil = bed.db.pool().begin().await.unwrap();
        B::exec(B::on(&mut evil), "insert into t (id) values (9)").await.unwrap();
        B::raw(B::on(&mut evil), "call slip()").await.unwrap();
        evil.rollback().await.unwrap();
        assert_eq!(bed.rows().await, [9]);
        bed.control("drop table made").await;
        bed.control("delete from t").await;

        let outer = TransactionOptions::new().name("outer");
        let told = bed.db.transaction_with(outer, async || {
            bed.insert(1).await?;
            B::raw(&bed.db, "call slip()").await?;
            Ok::<_, Error>(())
        });
        let told = told.await;
        let Err(error @ Error::EndedEarly { function, .. }) = &told else {
            panic!("{told:?}");
        };
        assert_eq!(function.name(), "outer");
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert_eq!(bed.rows().await, [1]);
        assert!(is_made(bed).await);
    }
}

case! {
    s_23_second_statement on mysql;
    "DDL behind a semicolon is not sent either";
    async fn<B>(bed) {
        let told = bed.db.transaction(async || {
            bed.insert(1).await?;
            Ok::<_, Error>(B::raw(&bed.db, &format!("insert into t (id) values (2); {DDL}")).await?)
        });
        let told = told.await;
        assert!(matches!(told, Err(Error::ImplicitCommit { .. })), "{told:?}");
        assert!(bed.rows().await.is_empty());
        assert!(!is_made(bed).await);
    }
}

/// A Nested scope in which DDL slipped through; gives what it and its owner were told.
async fn slip_in_nested<B: Backend>(
    bed: &Bed<B>,
    fails: bool,
) -> (Result<(), Error>, Result<(), Error>) {
    make_ddl_slip_through(bed).await;
    let mut inner = Ok(());
    let outer = bed.db.transaction(async || {
        bed.insert(1).await?;
        inner = bed
            .db
            .savepoint(async || {
                bed.insert(2).await?;
                B::raw(&bed.db, "call slip()").await?;
                if fails { Err(on_purpose()) } else { Ok(()) }
            })
            .await;
        assert!(bed.db.is_rollback_only(), "nothing more may be written");
        Ok::<_, Error>(())
    });
    let outer = outer.await;
    assert_eq!(bed.rows().await, [1, 2], "the DDL had committed them");
    (inner, outer)
}

case! {
    s_23_slipped on mysql;
    "DDL that slips through in a Nested scope destroys its savepoint; nobody claims a rollback";
    async fn<B>(bed) {
        let (inner, outer) = slip_in_nested(bed, false).await;
        let inner = inner.unwrap_err();
        assert!(!inner.to_string().contains("rolled back"), "{inner}");
        assert_eq!(inner.outcome(), Outcome::Unknown, "{inner}");
        let outer = outer.unwrap_err();
        assert_eq!(outer.outcome(), Outcome::Unknown, "{outer}");
    }
}

case! {
    s_23_slipped_fails on mysql;
    "DDL that slips through in a Nested scope that fails: the owner does not claim a rollback";
    async fn<B>(bed) {
        let (inner, outer) = slip_in_nested(bed, true).await;
        assert!(is_on_purpose(&inner.unwrap_err()));
        let outer = outer.unwrap_err();
        assert_eq!(outer.outcome(), Outcome::Unknown, "{outer}");
    }
}

/// A sibling with a child of its own; where `fails`, all of it is undone.
async fn sibling<B: Backend>(bed: &Bed<B>, first: i64, fails: bool) -> Result<(), Error> {
    bed.db
        .savepoint(async || {
            bed.insert(first).await?;
            pending_once().await;
            nested(bed, first + 1, false).await?;
            pending_once().await;
            caught(bed, first + 2).await;
            bed.insert(first + 3).await?;
            if fails { Err(on_purpose()) } else { Ok(()) }
        })
        .await
}

case! {
    s_24_siblings on sqlite, postgres, mysql;
    "siblings of one join! that open savepoints are each kept or undone alone";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let (kept, undone) = tokio::join!(sibling(bed, 10, false), sibling(bed, 20, true));
            kept.unwrap();
            assert!(is_on_purpose(&undone.unwrap_err()));
            let many = (3..9).map(|ten| sibling(bed, ten * 10, ten % 2 == 0));
            let ended: Vec<bool> = join_all(many).await.iter().map(Result::is_ok).collect();
            assert_eq!(ended, [true, false, true, false, true, false]);
            Ok::<_, Error>(())
        }).await.unwrap();
        let kept = [10, 30, 50, 70].map(|first| [first, first + 1, first + 3]);
        let expected: Vec<i64> = [1].into_iter().chain(kept.into_iter().flatten()).collect();
        assert_eq!(bed.rows().await, expected);
    }
}

case! {
    s_24_siblings_wire on postgres, mysql;
    "siblings of one join! take turns with their savepoints, which stay properly nested";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let (kept, undone) = tokio::join!(sibling(bed, 10, false), sibling(bed, 20, true));
            kept.unwrap();
            undone.unwrap_err();
            Ok::<_, Error>(())
        }).await.unwrap();
        let mut open = 0;
        let mut outermost_ends = 0;
        for (_, event) in proxy.events() {
            match event {
                "SAVEPOINT" => open += 1,
                "RELEASE" | "ROLLBACK TO" => {
                    open -= 1;
                    outermost_ends += usize::from(open == 0);
                }
                _ => assert_eq!(open, 0, "{event} inside a savepoint"),
            }
            assert!((0..=2).contains(&open), "{:#?}", proxy.executed());
        }
        assert_eq!(outermost_ends, 2, "{:#?}", proxy.executed());
    }
}

/// An outer statement that starts while a child's savepoint is open, in one task.
async fn writes_beside_open_child<B: Backend>(bed: &Bed<B>, fails: bool) -> Result<(), Error> {
    bed.insert(1).await?;
    let (opened, is_open) = oneshot::channel();
    let (waits, is_waiting) = oneshot::channel();
    let child = bed.db.savepoint(async || {
        bed.insert(2).await?;
        opened.send(()).expect("the other branch listens");
        is_waiting.await.expect("the other branch speaks");
        bed.insert(3).await?;
        if fails { Err(on_purpose()) } else { Ok(()) }
    });
    let beside = async {
        is_open.await.expect("the child speaks");
        let mut statement = pin!(bed.insert(4));
        for _ in 0..20 {
            let pending = poll_fn(|cx| Poll::Ready(statement.as_mut().poll(cx).is_pending()));
            assert!(pending.await, "it did not wait for the child");
            tokio::task::yield_now().await;
        }
        waits.send(()).expect("the child listens");
        statement.await
    };
    let (child, beside) = tokio::join!(child, beside);
    beside?;
    assert_eq!(child.is_err(), fails);
    Ok(())
}

case! {
    s_24_beside on sqlite, postgres, mysql;
    "an outer statement beside a child's open savepoint waits, and outlives the child's rollback";
    async fn<B>(bed) {
        bed.db.transaction(async || writes_beside_open_child(bed, true).await).await.unwrap();
        assert_eq!(bed.rows().await, [1, 4]);
        bed.control("delete from t").await;
        bed.db.transaction(async || writes_beside_open_child(bed, false).await).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3, 4]);
    }
}

case! {
    s_24_beside_wire on postgres, mysql;
    "an outer statement beside a child's open savepoint is sent after the child's end";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || writes_beside_open_child(bed, true).await).await.unwrap();
        let executed = proxy.executed();
        let place = |part: &str| {
            let found = executed.iter().position(|(_, sql)| sql.contains(part));
            found.unwrap_or_else(|| panic!("{part}: {executed:#?}"))
        };
        assert!(place("values (3)") < place("ROLLBACK TO"), "{executed:#?}");
        assert!(place("ROLLBACK TO") < place("values (4)"), "{executed:#?}");
    }
}

/// Drops a child after `polls` polls, goes on and commits; gives whether it had finished.
async fn drop_child_after<B: Backend>(bed: &Bed<B>, polls: usize) -> bool {
    let (mut finished, mut body_ended) = (false, false);
    let outer = bed.db.transaction(async || {
        bed.insert(1).await?;
        let child = bed.db.savepoint(async || {
            bed.insert(2).await?;
            pending_once().await;
            nested(bed, 3, false).await?;
            caught(bed, 4).await;
            bed.insert(5).await?;
            body_ended = true;
            Ok::<_, Error>(())
        });
        finished = poll_n(child, polls).await.0.transpose()?.is_some();
        assert!(!bed.db.is_rollback_only(), "{polls} polls");
        bed.insert(6).await?;
        caught(bed, 7).await;
        nested(bed, 8, false).await?;
        Ok::<_, Error>(())
    });
    outer.await.unwrap();
    let stored = bed.rows().await;
    // A RELEASE that was sent runs to its end: all of the child, or nothing.
    let released = finished || (body_ended && stored.contains(&2));
    let expected: &[i64] = if released {
        &[1, 2, 3, 5, 6, 8]
    } else {
        &[1, 6, 8]
    };
    assert_eq!(stored, expected, "{polls} polls");
    bed.clean().await.unwrap();
    bed.control("delete from t").await;
    finished
}

/// How often the child was dropped half-way before it had finished three times: how often a
/// call is pending depends on how fast the answers come.
async fn drop_child_everywhere<B: Backend>(bed: &Bed<B>) -> usize {
    let (mut half_way, mut finished) = (0, 0);
    for polls in 0.. {
        if drop_child_after(bed, polls).await {
            finished += 1;
        } else {
            half_way += 1;
        }
        if finished == 3 {
            break;
        }
    }
    half_way
}

case! {
    s_24_dropped on sqlite, postgres, mysql;
    "a child dropped at any await point is undone, and the outer goes on and commits";
    async fn<B>(bed) {
        assert!(drop_child_everywhere(bed).await >= 2);
    }
}

case! {
    s_24_dropped_slow on postgres, mysql;
    bed = Bed::<B>::proxied(4, Shape::pieces(16, Duration::from_micros(200)));
    "a child dropped at any await point of slow, torn answers is undone; the outer commits";
    async fn<B>(bed, proxy) {
        let half_way = drop_child_everywhere(bed).await;
        // The child alone has nine messages, and all have to be waited for.
        assert!(half_way >= 9, "only {half_way} await points: {:#?}", proxy.executed());
    }
}
