//! Group Y: scopes that are run again after a conflict, and those that are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Barrier, Semaphore, oneshot};
use tokio::task::JoinSet;
use tx_runtime::{
    Db, Error, Isolation, Outcome, Propagation, Retry, TransactionOptions, hook_failures,
    transactional,
};
use tx_tests::{Backend, Bed, Lay, Proxy, acquired, case};

/// As patient as `attempts`, with waits that a test can afford.
fn retry(attempts: u32) -> Retry {
    Retry::attempts(attempts).backoff(Duration::from_millis(1), Duration::from_millis(20))
}

fn serializable() -> TransactionOptions {
    TransactionOptions::new()
        .isolation(Isolation::Serializable)
        .name("counted")
}

/// How often something was done.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU32>);

impl Count {
    /// Counts one more; gives how often it was before.
    fn again(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// As [`again`](Self::again), as a hook.
    fn hook(self) -> std::future::Ready<()> {
        self.again();
        std::future::ready(())
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads the number in row 1 and writes it back, one greater.
async fn count_up<B: Backend>(bed: &Bed<B>) -> Result<(), Error> {
    let cast = if B::LABEL == "mysql" {
        "signed"
    } else {
        "integer"
    };
    let read = format!("select cast(v as {cast}) from t where id = 1");
    let number = B::int(&bed.db, &read).await?;
    let write = format!("update t set v = '{}' where id = 1", number + 1);
    B::exec(&bed.db, &write).await?;
    Ok(())
}

const TASKS: u32 = 12;

/// Whether any of them meet is chance; that many storms, and some have.
const STORMS: usize = 20;

/// Lets `TASKS` tasks count up at once; gives the number after it and how many gave up.
async fn storm<B: Backend>(bed: &Arc<Bed<B>>, retry: Retry, tries: &Count) -> (u32, u32) {
    bed.control("delete from t").await;
    bed.control("insert into t (id, v) values (1, '0')").await;
    let start = Arc::new(Barrier::new(TASKS as usize));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (bed, start, tries) = (Arc::clone(bed), Arc::clone(&start), tries.clone());
        tasks.spawn(async move {
            start.wait().await;
            let counted = bed.db.retrying(retry, serializable(), async || {
                tries.again();
                count_up(&bed).await
            });
            counted.await
        });
    }
    let ended = tasks.join_all().await;
    let number = bed.control_texts("select v from t where id = 1").await;
    let gave_up = ended.iter().filter(|it| it.is_err()).count();
    (number[0].parse().unwrap(), u32::try_from(gave_up).unwrap())
}

case! {
    y_01 on postgres, mysql;
    "tasks in conflict all succeed in the end, and no update is lost";
    async fn<B>(bed) {
        for _ in 0..STORMS {
            let tries = Count::default();
            assert_eq!(storm(bed, retry(200), &tries).await, (TASKS, 0));
            if tries.get() > TASKS {
                return;
            }
        }
        panic!("nobody was in conflict: the case shows nothing");
    }
}

case! {
    y_01_evil on postgres, mysql;
    "without a second attempt some of the same tasks fail";
    async fn<B>(bed) {
        for _ in 0..STORMS {
            let (number, gave_up) = storm(bed, retry(1), &Count::default()).await;
            assert_eq!(number, TASKS - gave_up);
            if gave_up > 0 {
                return;
            }
        }
        panic!("nobody was in conflict");
    }
}

case! {
    y_01_new_transaction on postgres;
    "each attempt is a transaction of its own";
    async fn<B>(bed) {
        let mut seen = Vec::new();
        let tries = Count::default();
        let told = bed.db.retrying(retry(3), serializable(), || {
            let (bed, tries) = (Arc::clone(bed), tries.clone());
            async move {
                tries.again();
                bed.insert(1).await?;
                let id = B::int(&bed.db, "select pg_current_xact_id()::text::bigint").await?;
                raise::<B>(&bed.db).await?;
                Ok::<_, Error>(id)
            }
        });
        seen.extend(told.await);
        assert!(seen.is_empty());
        assert_eq!(tries.get(), 3);
    }
}

/// A statement that fails as one in a conflict does.
async fn raise<B: Backend>(db: &Db<B>) -> Result<(), Error> {
    let sql = match B::LABEL {
        "postgres" => "do $$ begin raise exception using errcode = '40001'; end $$",
        _ => "signal sqlstate '40001' set mysql_errno = 1213",
    };
    B::raw(db, sql).await?;
    Ok(())
}

case! {
    y_02 on sqlite, postgres, mysql;
    "a function that joins cannot retry, and says so before its body";
    async fn<B>(bed) {
        let never = async || -> Result<(), Error> { panic!("its body must not run") };
        let mode = |propagation| serializable().propagation(propagation);
        for joins in [Propagation::Required, Propagation::Nested, Propagation::Mandatory] {
            bed.db.transaction_with(serializable(), async || {
                bed.visible().await?;
                let told = bed.db.retrying(retry(3), mode(joins), never).await;
                let Err(error @ Error::RetryWithoutOwnership { function, .. }) = &told else {
                    panic!("{told:?}");
                };
                assert_eq!(function.name(), "counted");
                assert_eq!(error.outcome(), Outcome::NotStarted);
                assert!(!bed.db.is_rollback_only());
                Ok::<_, Error>(())
            }).await.unwrap();
        }
        for without in [Propagation::Supports, Propagation::NotSupported, Propagation::Never] {
            let told = bed.db.retrying(retry(3), mode(without), never).await;
            assert!(matches!(told, Err(Error::RetryWithoutOwnership { .. })), "{told:?}");
        }
    }
}

case! {
    y_02_requires_new on postgres, mysql;
    "RequiresNew owns its transaction, and retries beside the one around it";
    async fn<B>(bed) {
        let tries = Count::default();
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let new = TransactionOptions::new().propagation(Propagation::RequiresNew);
            bed.db.retrying(retry(3), new, async || {
                bed.insert(2).await?;
                if tries.again() < 2 { raise::<B>(&bed.db).await } else { Ok(()) }
            }).await?;
            assert!(!bed.db.is_rollback_only());
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    y_03 on postgres, mysql;
    "the hooks of an attempt that is repeated are dropped, those of the last one run once";
    async fn<B>(bed) {
        for succeeds in [true, false] {
            let (tries, commits, ends) = (Count::default(), Count::default(), Count::default());
            let ((), failures) = hook_failures(async || {
                let told = bed.db.retrying(retry(3), TransactionOptions::new(), async || {
                    let (commits, ends) = (commits.clone(), ends.clone());
                    bed.db.after_commit(move || commits.hook())?;
                    bed.db.after_completion(move |_| ends.hook())?;
                    B::int(&bed.db, "select 1").await?;
                    if tries.again() == 2 && succeeds { Ok(()) } else { raise::<B>(&bed.db).await }
                });
                assert_eq!(told.await.is_ok(), succeeds);
            }).await;
            assert!(failures.is_empty());
            assert_eq!((tries.get(), commits.get(), ends.get()), (3, u32::from(succeeds), 1));
        }
    }
}

case! {
    y_04 on sqlite, postgres, mysql;
    "the body's own error, and a statement's that is no conflict, are not tried again";
    async fn<B>(bed) {
        let tries = Count::default();
        let told = bed.db.retrying(retry(5), TransactionOptions::new(), async || {
            tries.again();
            bed.insert(1).await?;
            Err::<(), _>(Error::Database(sqlx::Error::RowNotFound))
        });
        told.await.unwrap_err();
        let told = bed.db.retrying(retry(5), TransactionOptions::new(), async || {
            tries.again();
            bed.insert(1).await?;
            Ok::<_, Error>(bed.insert(1).await?)
        });
        told.await.unwrap_err();
        assert_eq!(tries.get(), 2);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    y_05 on postgres, mysql;
    "when the attempts are used up, the last one's error is returned as it is";
    async fn<B>(bed) {
        let tries = Count::default();
        let told = bed.db.retrying(retry(4), TransactionOptions::new(), async || {
            tries.again();
            raise::<B>(&bed.db).await
        });
        let told = told.await;
        let Err(error @ Error::Database(sqlx::Error::Database(_))) = &told else { panic!("{told:?}") };
        assert!(error.is_retryable());
        assert_eq!(tries.get(), 4);
    }
}

case! {
    y_06 on postgres, mysql; pool = 1;
    "between two attempts the connection is there for others";
    async fn<B>(bed) {
        //
        let patient = Retry::attempts(2).backoff(Duration::from_secs(3), Duration::from_secs(3));
        let tries = Count::default();
        let (failed, has_failed) = oneshot::channel();
        let mut failed = Some(failed);
        let other = async {
            has_failed.await.unwrap();
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(2).await?)).await.unwrap();
            // The second attempt has not begun.
            assert_eq!(tries.get(), 1);
        };
        let retried = bed.db.retrying(patient, TransactionOptions::new(), || {
            let first = tries.again() == 0;
            let failed = failed.take();
            async move {
                bed.insert(1).await?;
                if !first {
                    return Ok(());
                }
                failed.map(|failed| failed.send(()));
                raise::<B>(&bed.db).await
            }
        });
        let (retried, ()) = tokio::join!(retried, other);
        retried.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    y_08 on sqlite, postgres, mysql;
    bed = Bed::<B>::build(
        |pool| pool.max_connections(1).acquire_timeout(Duration::from_millis(100)),
        |builder| builder,
    );
    "a pool that has no connection to give is no conflict";
    async fn<B>(bed) {
        let held = acquired(bed.db.pool()).await;
        let tries = Count::default();
        let told = bed.db.retrying(retry(5), TransactionOptions::new(), async || {
            tries.again();
            Ok::<_, Error>(bed.insert(1).await?)
        });
        let told = told.await;
        assert!(matches!(told, Err(Error::ConnectionTimeout { .. })), "{told:?}");
        assert_eq!(tries.get(), 1);
        drop(held);
    }
}

case! {
    y_09 on postgres, mysql;
    "a deadlock is tried again, and both sides get through";
    async fn<B>(bed) {
        bed.control("insert into t (id, v) values (1, 'a'), (2, 'b')").await;
        let tries = Count::default();
        let both = Arc::new(Barrier::new(2));
        let side = async |own: i64, other: i64| {
            let mut first = true;
            bed.db.retrying(retry(20), TransactionOptions::new(), || {
                let (first, both, tries) = (std::mem::take(&mut first), Arc::clone(&both), &tries);
                async move {
                    tries.again();
                    B::exec(&bed.db, &format!("update t set v = 'x' where id = {own}")).await?;
                    if first {
                        both.wait().await;
                    }
                    B::exec(&bed.db, &format!("update t set v = 'y' where id = {other}")).await?;
                    Ok::<_, Error>(())
                }
            }).await
        };
        let (one, two) = tokio::join!(side(1, 2), side(2, 1));
        one.unwrap();
        two.unwrap();
        assert!(tries.get() >= 3, "there was no deadlock");
    }
}

case! {
    y_12 on postgres, mysql;
    "a conflict that a joined function met and the owner swallowed is one";
    async fn<B>(bed) {
        let tries = Count::default();
        let told = bed.db.retrying(retry(3), TransactionOptions::new(), async || {
            bed.insert(1).await?;
            let joined = bed.db.transaction(async || raise::<B>(&bed.db).await);
            if tries.again() < 2 {
                joined.await.unwrap_err();
            }
            Ok::<_, Error>(())
        });
        told.await.unwrap();
        assert_eq!(tries.get(), 3);
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    y_15 on sqlite, postgres, mysql;
    "a loop of one's own inside a transaction is refused at its second round: nothing can mend that";
    async fn<B>(bed) {
        let tries = Count::default();
        let told = bed.db.transaction(async || {
            let mut told = Ok(());
            for _ in 0..3 {
                told = bed.db.transaction(async || {
                    tries.again();
                    bed.insert(1).await?;
                    Ok::<_, Error>(bed.insert(1).await?)
                }).await;
            }
            assert!(matches!(told, Err(Error::Doomed { .. })), "{told:?}");
            told
        });
        told.await.unwrap_err();
        assert_eq!(tries.get(), 1);
    }
}

case! {
    y_16 on postgres, mysql;
    "attempts inside attempts: a conflict of the inner transaction is not one of the outer's";
    async fn<B>(bed) {
        let (outer, inner) = (Count::default(), Count::default());
        let told = bed.db.retrying(retry(3), TransactionOptions::new(), async || {
            outer.again();
            bed.insert(1).await?;
            let new = TransactionOptions::new().propagation(Propagation::RequiresNew);
            bed.db.retrying(retry(3), new, async || {
                inner.again();
                raise::<B>(&bed.db).await
            }).await
        });
        told.await.unwrap_err();
        assert_eq!((outer.get(), inner.get()), (1, 3));
    }
}

case! {
    y_17_commit on postgres;
    "a conflict that comes to light at COMMIT is one";
    async fn<B>(bed) {
        // Write skew: each reads what the other writes.
        bed.control("insert into t (id, v) values (1, 'a'), (2, 'a')").await;
        let both = Arc::new(Barrier::new(2));
        let tries = Count::default();
        let stored = Arc::new(Semaphore::new(0));
        let side = async |own: i64| {
            let mut first = true;
            let told = bed.db.retrying(retry(20), serializable(), || {
                let (first, both, tries) = (std::mem::take(&mut first), Arc::clone(&both), &tries);
                let stored = Arc::clone(&stored);
                async move {
                    tries.again();
                    if !first {
                        // It is told of the conflict before the other one's COMMIT has ended.
                        drop(stored.acquire().await);
                    }
                    B::int(&bed.db, "select count(*) from t where v = 'a'").await?;
                    B::exec(&bed.db, &format!("update t set v = 'b' where id = {own}")).await?;
                    if first {
                        both.wait().await;
                    }
                    Ok::<_, Error>(())
                }
            });
            let told = told.await;
            stored.add_permits(1);
            told
        };
        let (one, two) = tokio::join!(side(1), side(2));
        one.unwrap();
        two.unwrap();
        assert_eq!(tries.get(), 3, "the second to commit runs once more");
    }
}

case! {
    y_17_busy on sqlite; pool = 1;
    "a database that another process keeps busy is a conflict";
    async fn<B>(bed) {
        bed.control_raw("begin immediate; insert into t (id) values (1)").await;
        let tries = Count::default();
        let mut connection = bed.db.pool().acquire().await.unwrap();
        B::raw(B::on(&mut connection), "pragma busy_timeout = 1").await.unwrap();
        drop(connection);
        let (tried, has_tried) = oneshot::channel();
        let mut tried = Some(tried);
        let retried = bed.db.retrying(retry(1000), TransactionOptions::new(), || {
            if tries.again() == 2 {
                tried.take().map(|tried| tried.send(()));
            }
            async { Ok::<_, Error>(bed.insert(2).await?) }
        });
        let writer = async {
            has_tried.await.unwrap();
            bed.control_raw("commit").await;
        };
        let (retried, ()) = tokio::join!(retried, writer);
        retried.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    y_18_unknown on postgres, mysql; bed = Bed::<B>::impatient(1);
    "after a lost answer to COMMIT only what is declared idempotent is run again";
    async fn<B>(bed, proxy) {
        for (id, retry, tried) in [(1, retry(3), 1), (2, retry(3).idempotent(), 2)] {
            let trap = proxy.cut_after("COMMIT");
            let tries = Count::default();
            let told = bed.db.retrying(retry, TransactionOptions::new(), async || {
                let first = tries.again() == 0;
                proxy.shut(false);
                B::exec(&bed.db, &format!("delete from t where id = {id}")).await?;
                bed.insert(id).await?;
                // Nobody can be asked what became of the first attempt.
                proxy.shut(first);
                Ok::<_, Error>(())
            });
            let told = told.await;
            proxy.shut(false);
            assert!(trap.has_sprung());
            match tried {
                1 => assert!(matches!(told, Err(Error::CommitUnknown { .. })), "{told:?}"),
                _ => told.unwrap(),
            }
            assert_eq!(tries.get(), tried);
        }
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    y_18_resolved on postgres; pool = 1;
    "after a lost answer to COMMIT only what is certainly not stored is run again";
    async fn<B>(bed, proxy) {
        let lays: [(i64, Lay, u32); 2] =
            [(1, Proxy::cut_after, 1), (2, Proxy::cut_before, 2)];
        for (id, lay, tried) in lays {
            let trap = lay(proxy, "COMMIT");
            let tries = Count::default();
            let told = bed.db.retrying(retry(3), TransactionOptions::new(), async || {
                tries.again();
                Ok::<_, Error>(bed.insert(id).await?)
            });
            told.await.unwrap();
            assert!(trap.has_sprung());
            assert_eq!(tries.get(), tried);
        }
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    l_20 on postgres, mysql;
    "a lock among the options is held from the first attempt to the last";
    async fn<B>(bed) {
        let tries = Count::default();
        let locked = TransactionOptions::new().lock("k");
        let retried = bed.db.retrying(retry(3), locked, async || {
            bed.insert(1).await?;
            let taken = Arc::clone(bed);
            let taken = tokio::spawn(async move {
                let lock = tx_runtime::Lock::key("k").no_wait();
                taken.db.transaction_with(TransactionOptions::new().lock(lock), async || Ok::<_, Error>(())).await
            });
            assert!(taken.await.unwrap().is_err(), "the lock is open");
            if tries.again() < 2 { raise::<B>(&bed.db).await } else { Ok(()) }
        });
        retried.await.unwrap();
        assert_eq!(tries.get(), 3);
        assert_eq!(bed.rows().await, [1]);
        // And open after it.
        bed.db.locked("k", async || Ok::<_, Error>(())).await.unwrap();
    }
}

/// Takes its argument apart.
#[transactional(db = bed.db, retry(attempts = 3, backoff = "1ms..2ms"), lock = "{ids:?}")]
async fn attributed<B: Backend>(
    bed: &mut Bed<B>,
    tries: &Count,
    mut ids: Vec<i64>,
) -> Result<Vec<i64>, Error> {
    bed.insert(ids.pop().expect("the argument as it was given"))
        .await?;
    if tries.again() < 2 {
        raise::<B>(&bed.db).await?;
    }
    Ok(ids)
}

case! {
    y_20_attribute on postgres;
    "a function under the attribute has its arguments as they were given at every attempt";
    async fn<B>(bed) {
        let mut own = Bed::<B>::new().await.unwrap();
        let tries = Count::default();
        let left = attributed(&mut own, &tries, vec![7, 1]).await.unwrap();
        assert_eq!((left, tries.get()), (vec![7], 3));
        assert_eq!(own.rows().await, [1]);
        own.assert_clean().await;
        own.finish().await;
        assert!(bed.rows().await.is_empty());
    }
}

#[expect(dead_code, reason = "it has to compile")]
fn attributed_is_send<B: Backend>(
    bed: &mut Bed<B>,
    tries: &Count,
) -> impl Future<Output = Result<Vec<i64>, Error>> + Send {
    attributed(bed, tries, Vec::new())
}

/// The future of attempts can go to another thread, also with what the body borrows.
#[expect(dead_code, reason = "it has to compile")]
fn is_send<B: Backend>(bed: &Bed<B>, text: &str) {
    fn needs_send(_: impl Send) {}
    needs_send(
        bed.db
            .retrying(retry(2), TransactionOptions::new(), async || {
                bed.insert(1).await?;
                Ok::<_, Error>(text.len())
            }),
    );
}
