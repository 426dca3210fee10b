//! Group T: scopes whose time is limited, on both sides of the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::time::{sleep, timeout};
use tx_runtime::{
    CauseKind, Error, Outcome, Propagation, Retry, TransactionOptions, Tx, transactional,
};
use tx_tests::{Backend, Bed, case, poll_n};

/// The time of a scope that is to be late.
const SHORT: Duration = Duration::from_millis(300);

/// The times of a scope that is to be late, but not before it has done something: on a busy
/// machine the first may be too short for that, and then the next one is tried.
const LONGER_AND_LONGER: [Duration; 4] = [
    SHORT,
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
];

/// More than any test takes.
const LONG: Duration = Duration::from_mins(4);

/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_mins(1);

fn limited(timeout: Duration) -> TransactionOptions {
    TransactionOptions::new().timeout(timeout).name("limited")
}

fn mode(propagation: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(propagation)
}

/// Checks that `by`'s time is the reason.
fn assert_late<T: std::fmt::Debug>(told: &Result<T, Error>, function: &str, by: &str) {
    let Err(
        error @ Error::TimedOut {
            function: of,
            by: whose,
            cause,
        },
    ) = told
    else {
        panic!("{told:?}");
    };
    assert_eq!((of.name(), whose.name()), (function, by));
    assert_eq!(cause.kind(), CauseKind::TimedOut);
    assert_eq!(error.outcome(), Outcome::RolledBack);
    assert!(!error.is_retryable());
}

/// A statement that takes longer than any test; if it is in `t`, it has to be rolled back.
fn endless<B: Backend>() -> &'static str {
    match B::LABEL {
        "postgres" => "select pg_sleep(240)::text",
        "mysql" => "select sleep(240)",
        _ => {
            "with recursive c(x) as (select 1 union all select x + 1 from c where x < 1000000000) \
             select max(x) from c"
        }
    }
}

/// What the server is working on for the pool.
async fn at_work<B: Backend>(bed: &Bed<B>) -> Vec<String> {
    match B::LABEL {
        "postgres" => {
            bed.control_texts(
                "select query from pg_stat_activity where datname = current_database() \
                 and pid <> pg_backend_pid() and state = 'active' and backend_type = 'client backend'",
            )
            .await
        }
        "mysql" => {
            bed.control_texts(
                "select info from information_schema.processlist where db = database() \
                 and id <> connection_id() and command = 'Query'",
            )
            .await
        }
        _ => Vec::new(),
    }
}

/// Waits until the server works on nothing for the pool; it answers before it says so.
async fn at_rest<B: Backend>(bed: &Bed<B>) {
    until("the server is at rest", async || {
        at_work(bed).await.is_empty()
    })
    .await;
}

/// Waits until it holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "in vain: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

case! {
    t_01 on sqlite, postgres, mysql;
    "a body that sleeps beyond its time is dropped there, and nothing of it is stored";
    async fn<B>(bed) {
        let told = bed.db.transaction_with(limited(SHORT), async || {
            bed.insert(1).await?;
            sleep(LONG).await;
            bed.insert(2).await?;
            Ok::<_, Error>(())
        });
        assert_late(&told.await, "limited", "limited");
        assert!(bed.rows().await.is_empty());
        assert!(bed.free(1).await);
    }
}

case! {
    t_01_in_time on sqlite, postgres, mysql; pool = 1;
    "a scope that ends in time is as any other, and so is the next on its connection";
    async fn<B>(bed) {
        for (id, options) in [(1, limited(LONG)), (2, TransactionOptions::new()), (3, limited(Duration::MAX))] {
            let scope = bed.db.transaction_with(options, async || {
                bed.insert(id).await?;
                bed.db.savepoint(async || Ok::<_, Error>(bed.insert(10 + id).await?)).await
            });
            scope.await.unwrap();
        }
        assert_eq!(bed.rows().await, [1, 2, 3, 11, 12, 13]);
    }
}

case! {
    t_02 on sqlite, postgres, mysql; pool = 1;
    "a statement under way is stopped on the server, and its connection goes on";
    async fn<B>(bed) {
        let mut busy_one = None;
        for time in LONGER_AND_LONGER {
            let told = bed.db.transaction_with(limited(time), async || {
                bed.insert(1).await?;
                busy_one = Some(bed.pid().await?);
                B::texts(&bed.db, endless::<B>()).await?;
                Ok::<_, Error>(())
            });
            assert_late(&told.await, "limited", "limited");
            at_rest(bed).await;
            assert!(bed.rows().await.is_empty());
            if busy_one.is_some() {
                break;
            }
        }
        let next = bed.db.transaction(async || Ok::<_, Error>(bed.pid().await?)).await.unwrap();
        assert_eq!(Some(next), busy_one);
    }
}

case! {
    t_02_hook on sqlite, postgres, mysql;
    "a before_commit hook beyond the time is dropped there, also in a statement, and rolls back";
    async fn<B>(bed) {
        for in_statement in [false, true] {
            let mut times = LONGER_AND_LONGER.into_iter();
            loop {
                let time = times.next().expect("a time that is long enough for a hook to begin");
                let (begun, hook) = (Arc::new(AtomicBool::new(false)), Arc::clone(bed));
                let begins = Arc::clone(&begun);
                let told = bed.db.transaction_with(limited(time), async || {
                    bed.insert(1).await?;
                    bed.db.before_commit(async move || {
                        let inside = hook.db.transaction(async || {
                            begins.store(true, Ordering::Relaxed);
                            if in_statement {
                                B::texts(&hook.db, endless::<B>()).await?;
                            }
                            std::future::pending::<Result<(), Error>>().await
                        });
                        inside.await
                    })
                });
                let told = timeout(PATIENCE, told).await.expect("it ends");
                assert_late(&told, "limited", "limited");
                at_rest(bed).await;
                assert!(bed.rows().await.is_empty());
                assert!(bed.free(1).await);
                if begun.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    }
}

case! {
    t_03 on sqlite, postgres, mysql;
    "what counts is the time that is left, not the whole of it for each statement";
    async fn<B>(bed) {
        let whole = Duration::from_secs(3);
        let spent = whole * 5 / 6;
        let started = tokio::time::Instant::now();
        let told = bed.db.transaction_with(limited(whole), async || {
            bed.insert(1).await?;
            sleep(spent).await;
            B::texts(&bed.db, endless::<B>()).await?;
            Ok::<_, Error>(())
        });
        assert_late(&told.await, "limited", "limited");
        // The whole time anew for the statement is as much as this at least.
        assert!(started.elapsed() < spent + whole, "{:?}", started.elapsed());
    }
}

case! {
    t_04 on sqlite, postgres, mysql;
    "a body that waits for nothing and returns too late is rolled back, not committed late";
    async fn<B>(bed) {
        for written in [true, false] {
            let told = bed.db.transaction_with(limited(Duration::from_millis(50)), async || {
                if written {
                    bed.insert(1).await?;
                }
                std::thread::sleep(Duration::from_millis(100));
                Ok::<_, Error>(())
            });
            assert_late(&told.await, "limited", "limited");
        }
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    t_06 on sqlite, postgres, mysql;
    "a shorter time of a function that has joined counts, and dooms the transaction";
    async fn<B>(bed) {
        let outer = TransactionOptions::new().timeout(LONG).name("outer");
        for busy in [false, true] {
            let told = bed.db.transaction_with(outer.clone(), async || {
                bed.insert(1).await?;
                let inner = bed.db.transaction_with(limited(SHORT), async || {
                    if busy {
                        B::texts(&bed.db, endless::<B>()).await?;
                    } else {
                        sleep(LONG).await;
                    }
                    Ok::<_, Error>(())
                });
                assert_late(&inner.await, "limited", "limited");
                assert!(bed.db.is_rollback_only());
                at_rest(bed).await;
                Ok::<_, Error>(())
            });
            // O-25: and the owner is told of the time, not of an unexpected rollback.
            assert_late(&told.await, "outer", "limited");
            assert!(bed.rows().await.is_empty());
        }
    }
}

case! {
    t_07 on sqlite, postgres, mysql;
    "a Nested scope beyond its time is rolled back alone, and the outer goes on";
    async fn<B>(bed) {
        for outer in [TransactionOptions::new(), TransactionOptions::new().timeout(LONG)] {
            bed.control("delete from t").await;
            bed.db.transaction_with(outer, async || {
                bed.insert(1).await?;
                let nested = limited(SHORT).propagation(Propagation::Nested);
                let told = bed.db.transaction_with(nested, async || {
                    bed.insert(2).await?;
                    B::texts(&bed.db, endless::<B>()).await?;
                    Ok::<_, Error>(())
                });
                assert_late(&told.await, "limited", "limited");
                at_rest(bed).await;
                assert!(!bed.db.is_rollback_only());
                Ok::<_, Error>(bed.insert(3).await?)
            }).await.unwrap();
            assert_eq!(bed.rows().await, [1, 3]);
        }
    }
}

case! {
    t_08 on postgres, mysql;
    "a transaction of its own inside a shorter time ends with that";
    async fn<B>(bed) {
        let new = mode(Propagation::RequiresNew).timeout(LONG);
        let told = bed.db.transaction_with(limited(SHORT), async || {
            bed.insert(1).await?;
            bed.db.transaction_with(new, async || {
                bed.insert(2).await?;
                B::texts(&bed.db, endless::<B>()).await?;
                Ok::<_, Error>(())
            }).await
        });
        assert_late(&told.await, "limited", "limited");
        bed.db.drain().await;
        at_rest(bed).await;
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    t_09 on postgres, mysql;
    "time that a suspended scope spends counts";
    async fn<B>(bed) {
        let told = bed.db.transaction_with(limited(SHORT), async || {
            bed.insert(1).await?;
            bed.db.transaction_with(mode(Propagation::NotSupported), async || {
                sleep(LONG).await;
                Ok::<_, Error>(())
            }).await
        });
        assert_late(&told.await, "limited", "limited");
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    t_09_statement on sqlite, postgres, mysql;
    "a statement without a transaction is stopped when the time around it is over, streams as well";
    async fn<B>(bed) {
        for streamed in [false, true] {
            let mut times = LONGER_AND_LONGER.into_iter();
            loop {
                let time = times.next().expect("a time that is long enough to begin");
                let mut begun = false;
                let told = bed.db.transaction_with(limited(time), async || {
                    bed.db.transaction_with(mode(Propagation::NotSupported), async || {
                        B::int(&bed.db, "select 1").await?;
                        begun = true;
                        if streamed {
                            (&bed.db).fetch_many(AssertSqlSafe(endless::<B>())).next().await;
                        } else {
                            B::texts(&bed.db, endless::<B>()).await?;
                        }
                        Ok::<_, Error>(())
                    }).await
                });
                assert_late(&told.await, "limited", "limited");
                timeout(PATIENCE, bed.db.drain()).await.expect("it is stopped");
                at_rest(bed).await;
                if begun {
                    break;
                }
            }
        }
        // What it was stopped by does not stop the next one.
        for id in 1..=4 {
            B::exec(B::pool(bed.db.pool()), &format!("insert into t (id) values ({id})")).await.unwrap();
        }
        assert_eq!(bed.rows().await, [1, 2, 3, 4]);
    }
}

case! {
    t_10 on sqlite, postgres, mysql;
    "no time at all is over at once, and the longest one never";
    async fn<B>(bed) {
        let told = bed.db.transaction_with(limited(Duration::ZERO), async || {
            bed.insert(1).await?;
            Ok::<_, Error>(())
        });
        let told = told.await;
        assert!(matches!(told, Err(Error::TimedOut { .. })), "{told:?}");
        assert!(bed.rows().await.is_empty());
        let endless = limited(Duration::MAX);
        bed.db.transaction_with(endless, async || Ok::<_, Error>(bed.insert(1).await?)).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    t_11 on sqlite, postgres, mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.timeout(SHORT));
    "a Db's own time is that of scopes that ask for none";
    async fn<B>(bed) {
        let sleeps = async || {
            bed.insert(1).await?;
            sleep(SHORT * 2).await;
            Ok::<_, Error>(())
        };
        let told = bed.db.transaction_with(TransactionOptions::new().name("default"), sleeps).await;
        assert_late(&told, "default", "default");
        assert!(bed.rows().await.is_empty());
        bed.db.transaction_with(limited(LONG), sleeps).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
        bed.control("delete from t").await;
        bed.db.transaction_with(limited(Duration::MAX), sleeps).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

#[transactional(db = bed.db, timeout = "none")]
async fn without_limit<B: Backend>(bed: &Bed<B>) -> Result<(), Error> {
    sleep(SHORT * 2).await;
    Ok(bed.insert(1).await?)
}

case! {
    t_11_none on sqlite, postgres, mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.timeout(SHORT));
    "the attribute frees a function of the time that its Db has for all";
    async fn<B>(bed) {
        without_limit(bed).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
        let joined = bed.db.transaction(async || without_limit(bed).await).await;
        assert!(matches!(joined, Err(Error::TimedOut { .. })), "{joined:?}");
    }
}

case! {
    t_13 on sqlite, postgres, mysql; pool = 1;
    "waiting for a connection, or for a lock, is part of the time";
    async fn<B>(bed) {
        // Z-10: it counts from the entry of the scope, not from BEGIN.
        let held = bed.db.pool().acquire().await.unwrap();
        let told = bed.db.transaction_with(limited(SHORT), async || Ok::<_, Error>(bed.insert(1).await?));
        assert_late(&told.await, "limited", "limited");
        drop(held);

        let lock = bed.db.lock("k").await.unwrap();
        let elsewhere = Arc::clone(bed);
        let told = tokio::spawn(async move {
            let options = limited(SHORT).lock("k");
            elsewhere.db.transaction_with(options, async || Ok::<_, Error>(elsewhere.insert(1).await?)).await
        });
        assert_late(&told.await.unwrap(), "limited", "limited");
        let elsewhere = Arc::clone(bed);
        let told = tokio::spawn(async move {
            let options = limited(SHORT).lock("k");
            let retry = Retry::attempts(2);
            elsewhere.db.retrying(retry, options, async || Ok::<_, Error>(elsewhere.insert(1).await?)).await
        });
        assert_late(&told.await.unwrap(), "limited", "limited");
        lock.release().await.unwrap();
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    t_14 on postgres, mysql;
    "the server frees the rows of a scope that nobody polls any more";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (1)").await;
        let mut was_locked = false;
        for time in LONGER_AND_LONGER {
            let scope = bed.db.transaction_with(limited(time), async || {
                B::exec(&bed.db, "update t set v = 'x' where id = 1").await?;
                std::future::pending::<Result<(), Error>>().await
            });
            let mut scope = Box::pin(scope);
            // Polled until the row is locked, and then no more.
            let mut early = None;
            until("the row is locked", async || {
                was_locked = !bed.free(1).await;
                if !was_locked && let Poll::Ready(told) = futures_util::poll!(scope.as_mut()) {
                    early = Some(told);
                }
                was_locked || early.is_some()
            }).await;
            if let Some(told) = early {
                assert_late(&told, "limited", "limited");
                continue;
            }
            until("the server has ended it", async || bed.free(1).await).await;
            // T-15: it wakes up after all.
            assert_late(&scope.await, "limited", "limited");
            break;
        }
        assert!(was_locked);
        assert_eq!(bed.control_texts("select v from t").await, ["NULL"]);
    }
}

case! {
    t_16 on postgres, mysql; pool = 1;
    "the limits on the server are gone with the scope, however it has ended";
    async fn<B>(bed) {
        let limits = match B::LABEL {
            "postgres" => "select current_setting('statement_timeout') || ' ' || current_setting('idle_in_transaction_session_timeout')",
            _ => "select cast(concat(@@session.max_statement_time, ' ', @@session.idle_transaction_timeout, ' ', coalesce(@tx_work, 'none')) as char)",
        };
        let seen = async || B::texts(B::pool(bed.db.pool()), limits).await.unwrap();
        let before = seen().await;
        for end in ["commit", "rollback", "late"] {
            let time = if end == "late" { SHORT * 2 } else { LONG };
            let told = bed.db.transaction_with(limited(time), async || {
                bed.insert(1).await?;
                assert_ne!(B::texts(&bed.db, limits).await?, before, "there is a limit");
                match end {
                    "commit" => Ok(()),
                    "rollback" => Err(Error::Database(sqlx::Error::RowNotFound)),
                    _ => {
                        sleep(LONG).await;
                        Ok(())
                    }
                }
            });
            assert_eq!(told.await.is_ok(), end == "commit");
            assert_eq!(seen().await, before, "after {end}");
        }
    }
}

case! {
    t_16_own_limits on mysql;
    bed = Bed::<B>::build(
        |pool| pool.max_connections(1).after_connect(|connection, _| Box::pin(async move {
            B::raw(B::on(connection), "set session max_statement_time = 77").await.map(drop)
        })),
        |builder| builder,
    );
    "a limit that the session had before is there again";
    async fn<B>(bed) {
        bed.db.transaction_with(limited(LONG), async || Ok::<_, Error>(bed.insert(1).await?)).await.unwrap();
        let limit = B::texts(B::pool(bed.db.pool()), "select cast(@@session.max_statement_time as char)");
        assert!(limit.await.unwrap()[0].starts_with("77"));
    }
}

case! {
    t_17 on postgres, mysql;
    "a COMMIT that was sent in time is waited for, however long it takes";
    async fn<B>(bed, proxy) {
        for time in LONGER_AND_LONGER {
            let trap = proxy.hold_after("COMMIT");
            let scope = bed.db.transaction_with(limited(time), async || Ok::<_, Error>(bed.insert(1).await?));
            let mut scope = Box::pin(scope);
            let early = tokio::select! {
                biased;
                told = &mut scope => Some(told),
                () = trap.sprung() => None,
            };
            if let Some(told) = early {
                assert_late(&told, "limited", "limited");
                trap.release();
                continue;
            }
            let watch = async {
                sleep(time * 2).await;
                trap.release();
            };
            let (told, ()) = tokio::join!(scope, watch);
            told.unwrap();
            break;
        }
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    t_18 on sqlite, postgres, mysql;
    "a body's own error stays, although its time was over";
    async fn<B>(bed) {
        let shortest = Duration::from_millis(50);
        for time in [shortest].into_iter().chain(LONGER_AND_LONGER) {
            let mut written = false;
            let told = bed.db.transaction_with(limited(time), async || {
                bed.insert(1).await?;
                written = true;
                std::thread::sleep(time * 2);
                Err::<(), _>(Error::Database(sqlx::Error::RowNotFound))
            });
            let told = told.await;
            if written {
                assert!(matches!(told, Err(Error::Database(sqlx::Error::RowNotFound))), "{told:?}");
                return;
            }
            assert_late(&told, "limited", "limited");
        }
        panic!("no time is long enough to write in");
    }
}

case! {
    t_18_kept on sqlite, postgres, mysql;
    "an error that should commit is told along with the time that was over";
    async fn<B>(bed) {
        for time in LONGER_AND_LONGER {
            let mut written = false;
            let keeps = limited(time).no_rollback_for(|error| matches!(error, Error::OutsideScope));
            let told = bed.db.transaction_with(keeps, async || {
                bed.insert(1).await?;
                written = true;
                // The time itself has to pass, and unseen: at an await it would end the body.
                std::thread::sleep(time * 2);
                Err::<(), _>(Error::OutsideScope)
            });
            let told = told.await;
            assert_late(&told, "limited", "limited");
            assert!(bed.rows().await.is_empty());
            if written {
                let text = told.unwrap_err().to_string();
                assert!(text.contains("its rules commit for (OutsideScope)"), "{text}");
                return;
            }
        }
        panic!("no time is long enough to write in");
    }
}

/// An explicit transaction that has written a row, and the time that it has had for that.
async fn written_in_time<B: Backend>(bed: &Bed<B>) -> (Tx<'_, B>, Duration) {
    for time in LONGER_AND_LONGER {
        let tx = bed.db.begin_with(limited(time)).await.unwrap();
        let written = B::exec(&tx, "insert into t (id) values (1)").await;
        if written.is_ok() {
            return (tx, time);
        }
        assert_late(&written.map_err(Error::from), "limited", "limited");
    }
    panic!("no time is long enough to write in");
}

case! {
    t_21_tx on sqlite, postgres, mysql;
    "an explicit transaction is held to its time at each statement and at COMMIT";
    async fn<B>(bed) {
        let (tx, time) = written_in_time(bed).await;
        sleep(time * 2).await;
        let told = B::exec(&tx, "insert into t (id) values (2)").await.map_err(Error::from);
        assert_late(&told, "limited", "limited");
        assert_late(&tx.commit().await, "limited", "limited");

        let (tx, time) = written_in_time(bed).await;
        sleep(time * 2).await;
        assert_late(&tx.commit().await, "limited", "limited");
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    t_22_dropped on sqlite, postgres, mysql;
    "a limited scope that is dropped has its statement stopped as well";
    async fn<B>(bed) {
        let scope = bed.db.transaction_with(limited(LONG), async || {
            bed.insert(1).await?;
            B::texts(&bed.db, endless::<B>()).await?;
            Ok::<_, Error>(())
        });
        tokio::select! {
            ended = scope => panic!("{ended:?}"),
            () = sleep(SHORT) => {}
        }
        bed.db.drain().await;
        at_rest(bed).await;
        assert!(bed.free(1).await);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    t_23_retry on postgres;
    "the time is that of all attempts together, and none begins after it";
    async fn<B>(bed) {
        // Y-10
        for pause in LONGER_AND_LONGER {
            let mut tries = 0;
            let retry = Retry::attempts(100).backoff(pause, pause);
            let told = bed.db.retrying(retry, limited(pause * 3), || {
                tries += 1;
                async {
                    B::raw(&bed.db, "do $$ begin raise exception using errcode = '40001'; end $$").await?;
                    Ok::<_, Error>(())
                }
            });
            let told = told.await;
            assert!(tries <= 3, "{tries}");
            if matches!(told, Err(Error::TimedOut { .. })) || tries < 2 {
                continue;
            }
            // The last conflict is told, which came in time.
            assert!(matches!(told, Err(Error::Database(_))), "{told:?}");
            return;
        }
        panic!("no time is long enough for two attempts");
    }
}

case! {
    t_24_unpolled_forms on sqlite;
    "a future that is polled a few times and then dropped leaves no time behind";
    async fn<B>(bed) {
        for polls in 1..6 {
            let scope = bed.db.transaction_with(limited(LONG), async || Ok::<_, Error>(bed.insert(1).await?));
            let (ended, _) = poll_n(scope, polls).await;
            bed.db.drain().await;
            if ended.is_some() {
                break;
            }
        }
        bed.control("delete from t").await;
        bed.db.transaction(async || Ok::<_, Error>(bed.insert(1).await?)).await.unwrap();
    }
}

/// T-20: every wait of a scope is one of tokio's clock. It does not depend on the database, with
/// which a paused clock could not be used: it jumps ahead while a server is waited for.
#[tokio::test(start_paused = true)]
async fn t_20_paused_clock() {
    let hour = Duration::from_hours(1);
    let pool = sqlx::pool::PoolOptions::<sqlx::Sqlite>::new().connect_lazy("sqlite::memory:");
    let db = tx_runtime::Db::new(pool.expect("a URL"));
    let started = tokio::time::Instant::now();
    let limited = TransactionOptions::new().timeout(hour);
    let told = db
        .transaction_with(limited, async || {
            sleep(2 * hour).await;
            Ok::<_, Error>(())
        })
        .await;
    assert!(matches!(told, Err(Error::TimedOut { .. })), "{told:?}");
    assert_eq!(started.elapsed().as_secs() / 3600, 1);

    let held = db.lock("k").await.unwrap();
    let waiting = db.clone();
    let waits = tokio::spawn(async move {
        let lock = tx_runtime::Lock::key("k").wait(3 * hour);
        waiting.locked(lock, async || Ok::<_, Error>(())).await
    });
    let told = waits.await.unwrap();
    assert!(matches!(told, Err(Error::LockTimeout { .. })), "{told:?}");
    assert_eq!(started.elapsed().as_secs() / 3600, 4);
    held.release().await.unwrap();
}
