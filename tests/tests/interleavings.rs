//! Branches, drops and leftovers that once met in the wrong order: each case is a defect
//! that was found by review and must not come back.

use std::cell::Cell;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _, TryFutureExt as _, poll};
use sqlx::Executor as _;
use tokio::sync::oneshot;
use tokio::{join, select, try_join};
use tx_runtime::{CauseKind, Db, Error, Isolation, Propagation, TransactionOptions};
use tx_tests::{Backend, Bed, Proxy, case, poll_n};

fn mode(propagation: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(propagation)
}

// ----- statements and savepoints that end late -----------------------------------------

/// Inserts the row 1 again, and takes so long that its failure comes after its drop.
fn late_duplicate<B: Backend>() -> &'static str {
    match B::LABEL {
        "postgres" => "insert into t (id) select 1 from pg_sleep(0.2)",
        "mysql" => "insert into t (id) select 1 from (select sleep(0.2)) as late",
        _ => {
            "insert into t (id) with recursive c(x) as (select 1 union all \
             select x + 1 from c where x < 500000) select max(x) * 0 + 1 from c"
        }
    }
}

case! {
    late_failure_is_not_released on sqlite, postgres, mysql;
    "a Nested scope does not succeed over a dropped statement that fails afterwards";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let nested = bed.db.savepoint(async || {
                bed.insert(2).await?;
                let (failed, _) = poll_n(B::exec(&bed.db, late_duplicate::<B>()), 1).await;
                assert!(failed.is_none(), "it is dropped in mid-flight");
                Ok::<_, Error>(())
            });
            match nested.await {
                Err(Error::UnexpectedRollback { cause, .. }) => {
                    assert_eq!(cause.kind(), CauseKind::Statement);
                }
                other => panic!("{other:?}"),
            }
            bed.insert(3).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 3]);
    }
}

/// A savepoint commits from another branch while its owner ends; either way it may say `Ok`
/// only for what is stored.
async fn savepoint_beside_its_owner<B: Backend>(bed: &Bed<B>, proxy: &Proxy, held: &str) {
    let trap = proxy.hold_before(held);
    let (hand_over, handed) = oneshot::channel();
    let owner = bed.db.transaction(async || {
        let savepoint = bed.db.begin_with(mode(Propagation::Nested)).await?;
        B::exec(&savepoint, "insert into t (id) values (1)").await?;
        if held != "COMMIT" {
            select! {
                biased;
                done = B::exec(&savepoint, held) => panic!("it was held: {done:?}"),
                () = trap.sprung() => {} // and so the statement is dropped in mid-flight
            }
        }
        hand_over.send(savepoint).ok();
        Ok::<_, Error>(())
    });
    let other = async {
        let mut commit = pin!(handed.await.expect("the savepoint").commit());
        if held == "COMMIT" {
            trap.sprung().await;
        }
        let at_once = poll!(commit.as_mut());
        trap.release();
        match at_once {
            Poll::Ready(answer) => answer,
            Poll::Pending => commit.await,
        }
    };
    let (owner, savepoint) = join!(owner, other);
    let rows = bed.rows().await;
    assert!(savepoint.is_err() || rows.contains(&1), "Ok with {rows:?}");
    assert!(owner.is_ok() || rows.is_empty(), "{owner:?} with {rows:?}");
}

case! {
    savepoint_commit_waits_behind_a_statement_before_commit on postgres, mysql;
    "a savepoint that waits for the wire behind its owner's end is never Ok without its rows";
    async fn<B>(bed, proxy) {
        savepoint_beside_its_owner(bed, proxy, "insert into t (id) values (2)").await;
    }
}

case! {
    savepoint_commit_waits_behind_commit on postgres, mysql;
    "a savepoint that commits while its owner's COMMIT is on its way is never Ok without its rows";
    async fn<B>(bed, proxy) {
        savepoint_beside_its_owner(bed, proxy, "COMMIT").await;
    }
}

case! {
    joined_tx_does_not_commit_a_failed_statement on sqlite, postgres, mysql;
    "the commit of a joined Tx whose statement failed is Doomed, and so is its owner's";
    async fn<B>(bed) {
        let owner = bed.db.transaction(async || {
            bed.insert(1).await?;
            let joined = bed.db.begin().await?;
            B::exec(&joined, "insert into t (id) values (1)").await.unwrap_err();
            let commit = joined.commit().await;
            assert!(matches!(commit, Err(Error::Doomed { .. })), "{commit:?}");
            Ok::<_, Error>(())
        }).await;
        assert!(matches!(owner, Err(Error::UnexpectedRollback { .. })), "{owner:?}");
        assert!(bed.rows().await.is_empty());
    }
}

// ----- whose scope it is ---------------------------------------------------------------

case! {
    within_adds_to_the_running_chain on sqlite, postgres, mysql;
    "inside Tx::within the scopes of another Db stay visible";
    async fn<B>(bed) {
        let other = Bed::<B>::new().await.expect("there was a first one");
        let tx = other.db.begin().await.unwrap();
        let outer = bed.db.transaction(async || {
            tx.within(async || {
                assert!(bed.db.is_in_transaction() && other.db.is_in_transaction());
                let joined = bed.db.transaction(async || Ok::<_, Error>(bed.insert(1).await?));
                joined.await?;
                Ok::<_, Error>(other.insert(2).await?)
            }).await?;
            Err::<(), _>(Error::OutsideScope)
        }).await;
        assert!(matches!(outer, Err(Error::OutsideScope)), "{outer:?}");
        tx.commit().await.unwrap();
        assert!(bed.rows().await.is_empty(), "it had joined the outer scope");
        assert_eq!(other.rows().await, [2]);
        other.assert_clean().await;
        other.finish().await;
    }
}

case! {
    plain_closure_runs_in_its_scope on sqlite, postgres, mysql;
    "what a closure that is not async hands to the Db at once belongs to the closure's scope";
    async fn<B>(bed) {
        let insert = || {
            let insert = (&bed.db).execute("insert into t (id) values (1)");
            insert.map_ok(drop).map_err(Error::from)
        };
        let outer = bed.db.transaction(async || {
            bed.db.transaction_with(mode(Propagation::RequiresNew), insert).await?;
            Err::<(), _>(Error::OutsideScope)
        }).await;
        assert!(matches!(outer, Err(Error::OutsideScope)), "{outer:?}");
        assert_eq!(bed.rows().await, [1], "the inner scope had committed it");
    }
}

// ----- connections that come from the pool in a bad state ------------------------------

case! {
    open_transaction_of_the_same_level_is_not_taken_over on postgres; bed = Bed::<B>::connected(1);
    "a transaction left open in the pool is not committed by a scope of its isolation level";
    async fn<B>(bed) {
        let levels = [
            ("BEGIN", None),
            ("BEGIN", Some(Isolation::ReadCommitted)),
            ("BEGIN ISOLATION LEVEL REPEATABLE READ", Some(Isolation::RepeatableRead)),
            ("BEGIN ISOLATION LEVEL SERIALIZABLE", Some(Isolation::Serializable)),
        ];
        for (begin, level) in levels {
            B::raw(B::pool(bed.db.pool()), begin).await.unwrap();
            let foreign = "insert into t (id) values (1)";
            B::raw(B::pool(bed.db.pool()), foreign).await.unwrap();
            let options = level.map_or_else(TransactionOptions::new, |level| {
                TransactionOptions::new().isolation(level)
            });
            let scope = bed.db.transaction_with(options, async || Ok(bed.insert(2).await?));
            let scope: Result<(), Error> = scope.await;
            let stored: &[i64] = if scope.is_ok() { &[2] } else { &[] };
            assert_eq!(bed.rows().await, stored, "after `{begin}`: {scope:?}");
            bed.control("delete from t").await;
        }
    }
}

case! {
    aborted_connection_is_replaced_unseen on postgres; bed = Bed::<B>::connected(1);
    "a connection that comes from the pool in an aborted transaction fails no scope";
    async fn<B>(bed) {
        B::raw(B::pool(bed.db.pool()), "BEGIN").await.unwrap();
        B::raw(B::pool(bed.db.pool()), "select 1 / 0").await.unwrap_err();
        bed.db.transaction(async || Ok::<_, Error>(bed.insert(1).await?)).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    in_memory_database_survives_a_drop on sqlite;
    "a dropped autocommit statement does not lose an in-memory database";
    async fn<B>(_bed) {
        for attempt in 0..50 {
            let db = Db::<B>::connect("sqlite::memory:").await.unwrap();
            let table = "create table m (id integer primary key)";
            B::raw(B::pool(db.pool()), table).await.unwrap();
            let scope = db.transaction_with(mode(Propagation::NotSupported), async || {
                B::exec(&db, "insert into m values (1)").await?;
                Ok::<_, Error>(())
            });
            poll_n(scope, 1 + attempt % 3).await;
            db.drain().await;
            let rows = B::ints(B::pool(db.pool()), "select id from m").await;
            assert!(rows.is_ok(), "attempt {attempt}: {rows:?}");
            db.pool().close().await;
        }
    }
}

case! {
    autocommit_cannot_be_switched_off on mysql; pool = 1;
    "a scope does not leave a connection in the pool that never commits";
    async fn<B>(bed) {
        let ways = [
            "set autocommit = 0",
            "set session autocommit = 0",
            "set @@autocommit = 0",
            "set @x = 1, autocommit = 0",
        ];
        for (sql, id) in ways.into_iter().zip(1..) {
            let scope = bed.db.transaction_with(mode(Propagation::NotSupported), async || {
                B::exec(&bed.db, sql).await?;
                Ok::<_, Error>(())
            }).await;
            assert!(matches!(scope, Err(Error::TransactionControl { .. })), "{sql}: {scope:?}");
            let insert = format!("insert into t (id) values ({id})");
            B::exec(B::pool(bed.db.pool()), &insert).await.unwrap();
            assert!(bed.rows().await.contains(&id), "{sql}: the row is not committed");
        }
    }
}

case! {
    or_rollback_dooms_a_tolerant_transaction on sqlite;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.tolerate_failed_statements(true));
    "after INSERT OR ROLLBACK nothing is stored, even where failed statements are tolerated";
    async fn<B>(bed) {
        for returns_ok in [true, false] {
            let scope: Result<(), Error> = bed.db.transaction(async || {
                bed.insert(1).await?;
                let sql = "insert or rollback into t (id) values (1)";
                B::exec(&bed.db, sql).await.unwrap_err();
                let later = bed.insert(2).await.map_err(Error::from);
                assert!(matches!(later, Err(Error::Doomed { .. })), "{later:?}");
                if returns_ok { Ok(()) } else { Err(Error::OutsideScope) }
            }).await;
            assert!(scope.is_err());
            assert!(bed.rows().await.is_empty(), "autocommit has stored something");
        }
    }
}

// ----- locks ---------------------------------------------------------------------------

case! {
    lock_opens_after_its_isolated_scope on postgres, mysql;
    "a lock around an Isolated scope opens when that has committed, not when the outer scope ends";
    async fn<B>(bed) {
        let (done, inner_is_done) = oneshot::channel();
        let (opened, lock_has_opened) = oneshot::channel();
        let outer = bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.locked("k", async || {
                let isolated = mode(Propagation::Isolated);
                bed.db.transaction_with(isolated, async || Ok::<_, Error>(bed.insert(2).await?)).await
            }).await?;
            done.send(()).ok();
            lock_has_opened.await.expect("the lock opens while the outer scope is open");
            Ok::<_, Error>(())
        });
        // Outside of the outer scope, so that it is not the same chain.
        let other = async {
            inner_is_done.await.expect("the inner scope succeeds");
            bed.db.locked("k", async || {
                assert_eq!(bed.rows().await, [2]);
                Ok::<_, Error>(())
            }).await?;
            opened.send(()).ok();
            Ok(())
        };
        try_join!(outer, other).unwrap();
    }
}

// ----- branches ------------------------------------------------------------------------

const FIVE: &str = "select 1 union all select 2 union all select 3 union all select 4 \
                    union all select 5";

/// One branch waits for the first row of a stream, another's statement begins to drain it
/// and goes on or is dropped. Each branch has a waker of its own.
async fn drained_stream<B: Backend>(bed: &Bed<B>, proxy: &Proxy, drop_the_drainer: bool) {
    let trap = proxy.hold_after("union all select 5");
    let scope = bed.db.transaction(async || {
        B::int(&bed.db, "select 1").await?;
        let reader = async {
            let mut rows = (&bed.db).fetch(FIVE);
            let mut read = 0;
            while let Some(row) = rows.next().await {
                row?;
                read += 1;
            }
            assert_eq!(read, 5);
            Ok::<_, Error>(())
        };
        let drainer = async {
            trap.sprung().await;
            let mut statement = Box::pin(B::int(&bed.db, "select 2"));
            assert!(poll!(&mut statement).is_pending());
            if drop_the_drainer {
                drop(statement);
                trap.release();
                return Ok(());
            }
            trap.release();
            assert_eq!(statement.await?, 2);
            Ok(())
        };
        let mut branches = FuturesUnordered::new();
        branches.push(reader.boxed_local());
        branches.push(drainer.boxed_local());
        while let Some(branch) = branches.next().await {
            branch?;
        }
        Ok::<_, Error>(())
    });
    scope.await.unwrap();
}

case! {
    drained_stream_wakes_its_reader on postgres, mysql;
    "a stream that another branch's statement drains wakes the branch that reads it";
    async fn<B>(bed, proxy) {
        drained_stream(bed, proxy, false).await;
    }
}

case! {
    half_drained_stream_wakes_its_reader on postgres, mysql;
    "a stream whose drainer is dropped wakes the branch that reads it";
    async fn<B>(bed, proxy) {
        drained_stream(bed, proxy, true).await;
    }
}

case! {
    first_statement_beside_a_requires_new on sqlite, postgres, mysql; pool = 2;
    "an outer scope's first statement and a RequiresNew, joined, share a pool of two";
    async fn<B>(bed) {
        let outer = bed.db.transaction(async || {
            let first = async { Ok::<_, Error>(bed.insert(1).await?) };
            let second = mode(Propagation::RequiresNew);
            let second = bed.db.transaction_with(second, async || Ok(bed.insert(2).await?));
            let (first, second): (_, Result<(), Error>) = join!(first, second);
            first?;
            second
        }).await;
        match outer {
            Ok(()) => assert_eq!(bed.rows().await, [1, 2]),
            // One writer only: refused, but not by a time limit.
            Err(Error::SecondWriter { .. }) if !B::SERVER => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}
case! {
    lock_stays_with_the_tx_that_ran_under_it on sqlite, postgres, mysql;
    "a statement through &tx or within it, under a lock, keeps the lock until the tx ends";
    async fn<B>(bed) {
        for through_within in [true, false] {
            let tx = bed.db.begin().await.unwrap();
            bed.db.locked("k", async || {
                if through_within {
                    tx.within(async || Ok::<_, Error>(bed.insert(1).await?)).await?;
                } else {
                    B::exec(&tx, "insert into t (id) values (2)").await?;
                }
                Ok::<_, Error>(())
            }).await.unwrap();
            let ending = Cell::new(false);
            let next = bed.db.locked("k", async || Ok::<_, Error>(ending.get()));
            let end = async {
                // Answers from the server: the lock had the time to open.
                for _ in 0..5 {
                    B::int(&tx, "select 1").await?;
                }
                ending.set(true);
                tx.commit().await
            };
            let (next, end) = join!(next, end);
            end.unwrap();
            assert!(next.unwrap(), "open before the tx ended (within: {through_within})");
        }
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    asking_keeps_no_lock on sqlite, postgres, mysql;
    "asking a scope about itself under a lock does not hand the lock to its transaction";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.locked("k", async || {
                assert!(bed.db.is_in_transaction() && !bed.db.is_rollback_only());
                Ok::<_, Error>(())
            }).await?;
            let db = bed.db.clone();
            // A chain of its own, while this transaction is still open.
            let next = tokio::spawn(async move { db.locked("k", async || Ok::<_, Error>(())).await });
            next.await.unwrap()
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

// ----- statements that are stopped -----------------------------------------------------------

case! {
    stopping_a_statement_stops_no_other on sqlite;
    "a statement that ends before it hears that it is to stop leaves that to no other one";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            let mut late = false;
            for size in [4, 20, 80, 240] {
                // One step of the virtual machine, which is asked only between its steps.
                let one_step = format!("select length(hex(randomblob({size} * 1000000)))");
                let nested = mode(Propagation::Nested).timeout(Duration::from_millis(50));
                let told = bed.db.transaction_with(nested, async || {
                    B::int(&bed.db, &one_step).await?;
                    Ok::<_, Error>(())
                });
                late |= matches!(told.await, Err(Error::TimedOut { .. }));
                let many_steps = "with recursive c(x) as (select 1 union all \
                                  select x + 1 from c where x < 100000) select max(x) from c";
                assert_eq!(B::int(&bed.db, many_steps).await?, 100_000, "the outer scope has all the time");
                if late {
                    break;
                }
            }
            assert!(late, "nothing was to be stopped");
            Ok::<_, Error>(bed.insert(1).await?)
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}
