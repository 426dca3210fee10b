//! Fencing tokens alone: a provider that excludes nobody, and databases that lose nothing.
//!
//! This is what a lease is at its worst, when every holder has lost it and none has noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tx_runtime::{
    Db, Error, Fence, Isolation, Lock, LockFailure, LockFuture, LockHold, LockProvider, LockQueue,
    LockRequest, Propagation, TransactionOptions,
};
use tx_tests::{Backend, Bed, case};

/// What hangs longer than this hangs for ever.
const PATIENCE: Duration = Duration::from_mins(1);

/// Gives everybody everything, with the numbers that the test wants.
#[derive(Clone, Debug)]
struct Numbered {
    queue: LockQueue,
    next: Arc<AtomicI64>,
    /// The greatest number that a database has told of.
    outrun: Arc<AtomicI64>,
    fenced: bool,
}

#[derive(Debug)]
struct Number {
    fences: Vec<Fence>,
    outrun: Arc<AtomicI64>,
}

impl Numbered {
    fn from(first: i64) -> Self {
        Self {
            queue: LockQueue::new(),
            next: Arc::new(AtomicI64::new(first)),
            outrun: Arc::default(),
            fenced: true,
        }
    }

    /// Another process's view of the same locks.
    fn elsewhere(&self) -> Self {
        Self {
            queue: LockQueue::new(),
            ..self.clone()
        }
    }

    fn lock(&self) -> Lock {
        Lock::key("k").on(self)
    }
}

impl LockProvider for Numbered {
    fn queue(&self) -> &LockQueue {
        &self.queue
    }

    fn acquire<'a>(
        &'a self,
        request: LockRequest<'a>,
    ) -> LockFuture<'a, Result<Option<Box<dyn LockHold>>, LockFailure>> {
        let token = self.next.fetch_add(1, Ordering::SeqCst);
        let fences = request.keys.iter().map(|key| Fence {
            key: Arc::clone(key),
            token,
        });
        let number = Number {
            fences: fences.filter(|_| self.fenced).collect(),
            outrun: Arc::clone(&self.outrun),
        };
        Box::pin(async { Ok(Some(Box::new(number) as Box<dyn LockHold>)) })
    }
}

impl LockHold for Number {
    fn check(&self) -> LockFuture<'_, Result<(), LockFailure>> {
        Box::pin(async { Ok(()) })
    }

    fn open(self: Box<Self>) -> LockFuture<'static, Result<(), LockFailure>> {
        Box::pin(async { Ok(()) })
    }

    fn leave(self: Box<Self>) -> LockFuture<'static, ()> {
        Box::pin(async {})
    }

    fn fences(&self) -> Vec<Fence> {
        self.fences.clone()
    }

    fn outrun(&self, token: i64) {
        self.outrun.fetch_max(token, Ordering::SeqCst);
    }
}

/// A bed with the table of tokens and a counter at 0.
async fn fenced<B: Backend>() -> Option<Bed<B>> {
    let bed = Bed::<B>::with_pool(8).await?;
    bed.db.create_fence_table().await.unwrap();
    bed.control("insert into t (id, v) values (1, '0')").await;
    Some(bed)
}

async fn read<B: Backend>(db: &Db<B>) -> Result<i64, sqlx::Error> {
    let found = B::texts(db, "select v from t where id = 1").await?;
    Ok(found[0].parse().expect("a number"))
}

async fn write<B: Backend>(db: &Db<B>, value: i64) -> Result<(), sqlx::Error> {
    B::exec(db, &format!("update t set v = '{value}' where id = 1")).await?;
    Ok(())
}

async fn stored<B: Backend>(bed: &Bed<B>) -> i64 {
    let found = bed.control_texts("select v from t where id = 1").await;
    found[0].parse().expect("a number")
}

fn at(isolation: Option<Isolation>) -> TransactionOptions {
    match isolation {
        Some(isolation) => TransactionOptions::new().isolation(isolation),
        None => TransactionOptions::new(),
    }
}

/// How often the counter goes up under a lock that excludes nobody, and how far it came.
async fn storm<B: Backend>(
    bed: &Arc<Bed<B>>,
    locks: &Numbered,
    isolation: Option<Isolation>,
) -> (i64, i64) {
    let before = stored(bed).await;
    let writers = (0..6).map(|_| {
        let (bed, locks) = (Arc::clone(bed), locks.elsewhere());
        tokio::spawn(async move {
            let mut counted = 0;
            for _ in 0..40 {
                let once = bed.db.locked(locks.lock(), async || {
                    let work = bed.db.transaction_with(at(isolation), async || {
                        let value = read(&bed.db).await?;
                        tokio::task::yield_now().await;
                        write(&bed.db, value + 1).await?;
                        Ok::<_, Error>(())
                    });
                    work.await
                });
                match once.await {
                    Ok(()) => counted += 1,
                    // Refused, by its number or by the isolation of the database.
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
            }
            counted
        })
    });
    let counted: i64 = join_all(writers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .sum();
    (counted, stored(bed).await - before)
}

case! {
    nobody_excluded on sqlite, postgres, mysql; bed = fenced::<B>();
    "with no mutual exclusion at all, the tokens alone lose no update";
    async fn<B>(bed) {
        let locks = Numbered::from(1);
        for isolation in [None, Some(Isolation::ReadCommitted), Some(Isolation::RepeatableRead), Some(Isolation::Serializable)] {
            let (counted, went_up) = storm(bed, &locks, isolation).await;
            assert!(counted >= 6, "{isolation:?}: only {counted} got through");
            assert_eq!(counted - went_up, 0, "{isolation:?}: of {counted} updates some are lost");
        }
        if B::SERVER {
            // The test can fail: the same without tokens.
            let unfenced = Numbered { fenced: false, ..locks };
            let (counted, went_up) = storm(bed, &unfenced, Some(Isolation::ReadCommitted)).await;
            assert!(counted > went_up, "nothing was lost of {counted}");
        }
    }
}

case! {
    stale_holder on sqlite, postgres, mysql; bed = fenced::<B>();
    "a holder whose successor has been in the database is refused, and what it wrote is gone";
    async fn<B>(bed) {
        let db = &bed.db;
        let locks = Numbered::from(7);
        let refused = db.locked(locks.lock(), async || {
            let value = db.transaction(async || Ok::<_, Error>(read(db).await?)).await?;
            // Meanwhile somebody else comes to have the lock.
            let other = bed.clone();
            let theirs = locks.elsewhere();
            tokio::spawn(async move {
                let work = other.db.locked(theirs.lock(), async || {
                    other.db.transaction(async || Ok::<_, Error>(write(&other.db, 50).await?)).await
                });
                work.await
            })
            .await
            .unwrap()?;
            db.transaction(async || Ok::<_, Error>(write(db, value + 1).await?)).await
        });
        let error = refused.await.unwrap_err();
        assert!(matches!(&error, Error::LockLost { key, .. } if key == "k"), "{error}");
        assert!(error.is_retryable());
        assert_eq!(stored(bed).await, 50);
        assert_eq!(locks.outrun.load(Ordering::SeqCst), 8, "the provider is told of the greater number");
    }
}

/// Waits until a connection of the bed waits for a row, which the server tells.
async fn until_somebody_waits<B: Backend>(bed: &Bed<B>) {
    let waiting = if B::LABEL == "postgres" {
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    } else {
        "select count(*) from information_schema.innodb_trx t join information_schema.processlist p \
         on p.id = t.trx_mysql_thread_id where t.trx_state = 'LOCK WAIT' and p.db = database()"
    };
    let waits = async {
        while bed.control_ints(waiting).await != [1] {
            // MariaDB refreshes that table only if nobody has read it for 100 ms.
            sleep(Duration::from_millis(120)).await;
        }
    };
    timeout(PATIENCE, waits).await.expect("nobody waits");
}

case! {
    slow_holder on postgres, mysql; bed = fenced::<B>();
    "who overtakes a holder in the middle of its transaction waits for it, and reads what it wrote";
    async fn<B>(bed) {
        let locks = Numbered::from(1);
        let (tell_read, was_read) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let slow = tokio::spawn({
            let (bed, locks) = (Arc::clone(bed), locks.elsewhere());
            async move {
                let work = bed.db.locked(locks.lock(), async || {
                    let work = bed.db.transaction(async || {
                        let value = read(&bed.db).await?;
                        tell_read.send(()).unwrap();
                        released.await.unwrap();
                        write(&bed.db, value + 1).await?;
                        Ok::<_, Error>(())
                    });
                    work.await
                });
                work.await
            }
        });
        was_read.await.unwrap();
        let overtaking = tokio::spawn({
            let (bed, locks) = (Arc::clone(bed), locks.elsewhere());
            async move {
                let work = bed.db.locked(locks.lock(), async || {
                    bed.db.transaction(async || Ok::<_, Error>(read(&bed.db).await?)).await
                });
                work.await
            }
        });
        until_somebody_waits(bed).await;
        release.send(()).unwrap();
        slow.await.unwrap().unwrap();
        assert_eq!(overtaking.await.unwrap().unwrap(), 1);
    }
}

case! {
    no_table on sqlite, postgres, mysql;
    "without the table of tokens nothing runs under a lease, and the error says how to make it";
    async fn<B>(bed) {
        let locks = Numbered::from(1);
        let refused = bed.db.locked(locks.lock(), async || {
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(1).await?)).await
        });
        let error = refused.await.unwrap_err();
        assert!(matches!(error, Error::NoFenceTable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("Db::create_fence_table()"), "{text}");
        assert!(text.contains(Db::<B>::fence_table()), "{text}");
        assert!(bed.rows().await.is_empty());

        // Both ways work, also where somebody was there before.
        bed.control_raw(Db::<B>::fence_table()).await;
        bed.db.create_fence_table().await.unwrap();
        let done = bed.db.locked(locks.lock(), async || {
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(1).await?)).await
        });
        done.await.unwrap();
        assert_eq!(bed.rows().await, [1]);
        assert_eq!(bed.control_ints("select token from tx_fence where name = 'k'").await, [2]);
    }
}

case! {
    own_transactions on postgres, mysql; bed = fenced::<B>();
    "transactions inside a transaction under the same lock do not wait for each other";
    async fn<B>(bed) {
        let db = &bed.db;
        let locks = Numbered::from(1);
        let isolated = TransactionOptions::new().propagation(Propagation::Isolated);
        let done = db.locked(locks.lock(), async || {
            let outer = db.transaction(async || {
                bed.insert(2).await?;
                // Also by asking for the lock once more.
                let again = db.locked(locks.lock(), async || {
                    let inner = db.transaction_with(isolated, async || Ok::<_, Error>(bed.insert(3).await?));
                    inner.await
                });
                again.await
            });
            outer.await
        });
        timeout(PATIENCE, done).await.expect("it waits for itself").unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

case! {
    joined_late on sqlite, postgres, mysql; bed = fenced::<B>();
    "a lease taken by a function that joins fences the transaction that it joins";
    async fn<B>(bed) {
        let db = &bed.db;
        let locks = Numbered::from(7);
        bed.control("insert into tx_fence (name, token) values ('k', 40)").await;
        let outer = db.transaction_with(at(Some(Isolation::ReadCommitted)), async || {
            bed.insert(2).await?;
            let joined = db.locked(locks.lock(), async || {
                db.transaction(async || Ok::<_, Error>(bed.insert(3).await?)).await
            });
            joined.await
        });
        let error = outer.await.unwrap_err();
        assert!(matches!(error, Error::LockLost { .. }), "{error}");
        assert_eq!(bed.rows().await, [1]);
        assert_eq!(locks.outrun.load(Ordering::SeqCst), 40);
    }
}

case! {
    savepoint_rolled_back on sqlite, postgres, mysql; bed = fenced::<B>();
    "a token that was written in a savepoint is written again after the savepoint is rolled back";
    async fn<B>(bed) {
        let db = &bed.db;
        let locks = Numbered::from(7);
        let token = "select token from tx_fence where name = 'k'";
        let outer = db.transaction_with(at(Some(Isolation::ReadCommitted)), async || {
            bed.insert(2).await?;
            let nested = db.savepoint(async || {
                // From here on the savepoint is set.
                bed.insert(5).await?;
                let locked = db.locked(locks.lock(), async || {
                    db.transaction(async || Ok::<_, Error>(bed.insert(3).await?)).await
                });
                locked.await?;
                assert_eq!(B::ints(db, token).await?, [7]);
                Err::<(), _>(Error::Database(sqlx::Error::RowNotFound))
            });
            nested.await.unwrap_err();
            // The transaction keeps the lock to its end, so this takes none.
            let again = db.locked(locks.lock(), async || {
                db.transaction(async || Ok::<_, Error>(bed.insert(4).await?)).await
            });
            again.await?;
            assert_eq!(B::ints(db, token).await?, [7]);
            Ok::<_, Error>(())
        });
        outer.await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 4]);
        assert_eq!(bed.control_ints(token).await, [7]);
    }
}

case! {
    read_only_reader on postgres, mysql; bed = fenced::<B>();
    "what a successor reads in a transaction that can only read is not overtaken by who was there before";
    async fn<B>(bed) {
        let locks = Numbered::from(1);
        let (tell_read, was_read) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let slow = tokio::spawn({
            let (bed, locks) = (Arc::clone(bed), locks.elsewhere());
            async move {
                let work = bed.db.locked(locks.lock(), async || {
                    let work = bed.db.transaction(async || {
                        let value = read(&bed.db).await?;
                        tell_read.send(()).unwrap();
                        released.await.unwrap();
                        write(&bed.db, value + 1).await?;
                        Ok::<_, Error>(())
                    });
                    work.await
                });
                work.await
            }
        });
        was_read.await.unwrap();
        let (tell_overtaken, overtaken) = oneshot::channel();
        let overtaking = tokio::spawn({
            let (bed, locks) = (Arc::clone(bed), locks.elsewhere());
            async move {
                let only_reads = TransactionOptions::new().read_only();
                let work = bed.db.locked(locks.lock(), async || {
                    let value = bed.db.transaction_with(only_reads, async || Ok::<_, Error>(read(&bed.db).await?)).await?;
                    overtaken.await.unwrap();
                    bed.db.transaction(async || Ok::<_, Error>(write(&bed.db, value + 1).await?)).await
                });
                work.await
            }
        });
        until_somebody_waits(bed).await;
        release.send(()).unwrap();
        slow.await.unwrap().unwrap();
        tell_overtaken.send(()).unwrap();
        overtaking.await.unwrap().unwrap();
        assert_eq!(stored(bed).await, 2, "an update is lost");
    }
}

case! {
    stale_reader on sqlite, postgres, mysql; bed = fenced::<B>();
    "a stale holder does not even read, in a transaction that can only read";
    async fn<B>(bed) {
        let db = &bed.db;
        let only_reads = TransactionOptions::new().read_only();
        let locks = Numbered::from(7);
        bed.control("insert into tx_fence (name, token) values ('k', 40)").await;
        let refused = db.locked(locks.lock(), async || {
            db.transaction_with(only_reads.clone(), async || Ok::<_, Error>(read(db).await?)).await
        });
        let error = refused.await.unwrap_err();
        assert!(matches!(error, Error::LockLost { .. }), "{error}");
        assert_eq!(locks.outrun.load(Ordering::SeqCst), 40);

        bed.control("delete from tx_fence").await;
        let done = db.locked(locks.lock(), async || {
            let reading = db.transaction_with(only_reads.clone(), async || {
                // It writes the token down, but not for those inside of it.
                let inner = TransactionOptions::new().propagation(Propagation::RequiresNew);
                let value = read(db).await?;
                if B::SERVER {
                    db.transaction_with(inner, async || Ok::<_, Error>(write(db, value + 5).await?)).await?;
                }
                Ok::<_, Error>(value)
            });
            reading.await
        });
        assert_eq!(done.await.unwrap(), 0);
        assert_eq!(bed.control_ints("select token from tx_fence where name = 'k'").await, [8]);

        bed.control("drop table tx_fence").await;
        let refused = db.locked(locks.lock(), async || {
            db.transaction_with(only_reads, async || Ok::<_, Error>(read(db).await?)).await
        });
        let error = refused.await.unwrap_err();
        assert!(matches!(error, Error::NoFenceTable { .. }), "{error}");
    }
}

case! {
    any_name on sqlite, postgres, mysql; bed = fenced::<B>();
    "tokens belong to exact names, of any letters and of the longest length";
    async fn<B>(bed) {
        let locks = Numbered::from(1);
        let long = "\u{1f512}".repeat(125);
        let names = ["k", "K", "k ", "\u{fc}", "u\u{308}", "'\"\\`%", &long];
        for (id, name) in (10..).zip(names) {
            let done = bed.db.locked(Lock::key(name).on(&locks), async || {
                bed.db.transaction(async || Ok::<_, Error>(bed.insert(id).await?)).await
            });
            done.await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let tokens = bed.control_ints("select token from tx_fence order by token").await;
        assert_eq!(tokens, [1, 2, 3, 4, 5, 6, 7], "some share a token's row");
    }
}
