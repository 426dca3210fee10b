//! Every way a ticket can go.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tx_runtime::{Error, Isolation, Lock, Propagation, Retry, TransactionOptions};
use tx_tests::{Backend, case, poll_n};

use crate::setup::{elsewhere, errors, k, states, ticketed, tickets, until_states};

fn failure(text: &str) -> Error {
    Error::Database(sqlx::Error::Protocol(text.to_owned()))
}

case! {
    done on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a function without a transaction runs, then its ticket is DONE";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        let done = bed.db.locked(k(&tickets), async || {
            assert_eq!(states(bed).await, ["RUNNING"]);
            Ok::<_, Error>(5)
        });
        assert_eq!(done.await.unwrap(), 5);
        assert_eq!(states(bed).await, ["DONE"]);
        assert_eq!(errors(bed).await, ["NULL"]);
    }
}

case! {
    done_with_the_work on sqlite, postgres, mysql; bed = ticketed::<B>();
    "the COMMIT of a transactional function sets its ticket to DONE, and nothing else does";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        let with = || TransactionOptions::new().lock(k(&tickets));
        // Were it written after the COMMIT, this would keep it from being written.
        let forbid = match B::LABEL {
            "sqlite" => "create trigger no after update on tx_ticket when new.state = 'DONE' and not exists (select 1 from t) \
                         begin select raise(abort, 'the work is not there'); end",
            "postgres" => "create function no() returns trigger language plpgsql as $$ begin \
                           if new.state = 'DONE' and not exists (select 1 from t where xmin = pg_current_xact_id()::xid) then \
                           raise 'the work is not there'; end if; return new; end $$; \
                           create trigger no before update on tx_ticket for each row execute function no()",
            _ => "create trigger no before update on tx_ticket for each row \
                  begin if new.state = 'DONE' and @mine is null then signal sqlstate '45000'; end if; end",
        };
        bed.control_raw(forbid).await;
        bed.db.transaction_with(with(), async || {
            if B::LABEL == "mysql" {
                B::raw(&bed.db, "set @mine = 1").await?;
            }
            bed.insert(1).await?;
            assert_eq!(states(bed).await, ["RUNNING"]);
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(states(bed).await, ["DONE"]);
        assert_eq!(bed.rows().await, [1]);
        if B::LABEL == "mysql" {
            return;
        }
        // It can fail: what is written on another connection is refused.
        bed.control("delete from t").await;
        let outside = bed.db.locked(k(&tickets), async || Ok::<_, Error>(()));
        outside.await.unwrap();
        assert_eq!(states(bed).await, ["DONE", "RUNNING"]);
        bed.control_raw(if B::LABEL == "sqlite" { "drop trigger no" } else { "drop trigger no on tx_ticket" }).await;
        // It is done as soon as the database lets it.
        until_states(bed, &["DONE", "DONE"]).await;
    }
}

case! {
    failed on sqlite, postgres, mysql; bed = ticketed::<B>();
    "an error is on record after the rollback, with its text, transactional or not";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        let transactional = bed.db.transaction_with(TransactionOptions::new().lock(k(&tickets)), async || {
            bed.insert(1).await?;
            Err::<(), _>(failure("the feed's broken"))
        });
        transactional.await.unwrap_err();
        let plain = bed.db.locked(k(&tickets), async || Err::<(), _>(failure("no \0 answer")));
        plain.await.unwrap_err();
        assert_eq!(states(bed).await, ["FAILED", "FAILED"]);
        let errors = errors(bed).await;
        assert!(errors[0].contains("the feed's broken"), "{errors:?}");
        assert!(errors[1].contains("answer"), "{errors:?}");
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    panicked on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a panic is a failure";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        let with = TransactionOptions::new().lock(k(&tickets));
        let transactional = bed.db.transaction_with(with, async || {
            bed.insert(1).await?;
            assert!(!bed.rows().await.is_empty(), "as it must");
            Ok::<_, Error>(())
        });
        std::panic::AssertUnwindSafe(transactional).catch_unwind().await.unwrap_err();
        until_states(bed, &["FAILED"]).await;
        let plain = bed.db.locked(k(&tickets), async || {
            assert!(!bed.rows().await.is_empty(), "as it must");
            Ok::<_, Error>(())
        });
        std::panic::AssertUnwindSafe(plain).catch_unwind().await.unwrap_err();
        until_states(bed, &["FAILED", "FAILED"]).await;
        assert_eq!(errors(bed).await, ["it panicked", "it panicked"]);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    dropped on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a future that is dropped under its lock leaves a CANCELLED ticket, after the rollback";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        let with = TransactionOptions::new().lock(k(&tickets));
        let (tell, told) = oneshot::channel::<()>();
        let mut work = Box::pin(bed.db.transaction_with(with, async || {
            bed.insert(1).await?;
            tell.send(()).unwrap();
            std::future::pending::<()>().await;
            Ok::<_, Error>(())
        }));
        tokio::select! { _ = &mut work => unreachable!(), _ = told => {} }
        assert_eq!(states(bed).await, ["RUNNING"]);
        drop(work);
        until_states(bed, &["CANCELLED"]).await;
        assert!(bed.rows().await.is_empty());
        // Others get on.
        bed.db.locked(k(&tickets), async || Ok::<_, Error>(())).await.unwrap();
    }
}

case! {
    too_late on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a scope whose time is over has failed";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        let with = TransactionOptions::new().timeout(Duration::from_millis(200)).lock(k(&tickets));
        let late = bed.db.transaction_with(with, async || {
            bed.insert(1).await?;
            std::future::pending::<()>().await;
            Ok::<_, Error>(())
        });
        let error = late.await.unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
        assert_eq!(states(bed).await, ["FAILED"]);
    }
}

case! {
    waited_in_vain on sqlite, postgres, mysql; bed = ticketed::<B>();
    "who waited in vain is told who had the lock, and its ticket is CANCELLED";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        let (db, there) = elsewhere(bed);
        bed.db.locked(k(&tickets).label("nightly"), async || {
            for wait in [Duration::ZERO, Duration::from_millis(50)] {
                let lock = Lock::key("k").on(&there).wait(wait);
                let error = db.locked(lock, async || Ok::<_, Error>(())).await.unwrap_err();
                let text = error.to_string();
                assert!(matches!(error, Error::LockTimeout { .. }), "{text}");
                assert!(text.contains("`nightly` of "), "{text}");
                assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
            }
            assert_eq!(states(bed).await, ["RUNNING", "CANCELLED", "CANCELLED"]);
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(states(bed).await, ["DONE", "CANCELLED", "CANCELLED"]);
        db.pool().close().await;
    }
}

case! {
    vanished on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a waiting caller that is dropped, at whatever point, inside or outside of a runtime, is CANCELLED and stops nobody";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        let (db, there) = elsewhere(bed);
        let held = bed.db.lock(k(&tickets)).await.unwrap();
        for n in 0..40 {
            let lock = k(&there);
            let mut waiting = Box::pin(db.locked(lock, async || Ok::<_, Error>(())));
            poll_n(waiting.as_mut(), n).await;
            if n % 2 == 0 {
                drop(waiting);
            } else {
                // On a thread that knows of no runtime.
                std::thread::scope(|scope| { scope.spawn(|| drop(waiting)); });
            }
        }
        held.release().await.unwrap();
        let next = db.locked(k(&there), async || Ok::<_, Error>(()));
        next.await.unwrap();
        db.drain().await;
        let expected = async || {
            let mut states = states(bed).await;
            let (first, last) = (states.remove(0), states.pop());
            assert_eq!((first.as_str(), last.as_deref()), ("DONE", Some("DONE")));
            states.iter().all(|state| state == "CANCELLED")
        };
        let until = std::time::Instant::now() + crate::setup::PATIENCE;
        while !expected().await {
            assert!(std::time::Instant::now() < until, "{:?}", states(bed).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        db.pool().close().await;
    }
}

case! {
    joined on postgres, mysql; bed = ticketed::<B>();
    "the ticket of a function that joins is DONE with the transaction that it joins, or FAILED with it";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        let read_committed = TransactionOptions::new().isolation(Isolation::ReadCommitted);
        for commits in [true, false] {
            let outer = bed.db.transaction_with(read_committed.clone(), async || {
                bed.insert(i64::from(commits)).await?;
                bed.db.transaction_with(TransactionOptions::new().lock(k(&tickets)), async || {
                    bed.insert(10 + i64::from(commits)).await?;
                    Ok::<_, Error>(())
                }).await?;
                assert_eq!(states(bed).await.last().unwrap(), "RUNNING");
                if commits { Ok(()) } else { Err(failure("after it")) }
            });
            assert_eq!(outer.await.is_ok(), commits);
        }
        until_states(bed, &["DONE", "FAILED"]).await;
        let error = &errors(bed).await[1];
        assert!(error.contains("was rolled back"), "{error}");
        assert_eq!(bed.rows().await, [1, 11]);
    }
}

case! {
    nested on postgres, mysql; bed = ticketed::<B>();
    "work in a savepoint that is rolled back has FAILED, though the transaction around it commits";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        let read_committed = TransactionOptions::new().isolation(Isolation::ReadCommitted);
        let outer = bed.db.transaction_with(read_committed, async || {
            bed.insert(1).await?;
            let nested = TransactionOptions::new().propagation(Propagation::Nested).lock(k(&tickets));
            let inner = bed.db.transaction_with(nested, async || {
                bed.insert(2).await?;
                Err::<(), _>(failure("only this"))
            });
            inner.await.unwrap_err();
            Ok::<_, Error>(())
        });
        outer.await.unwrap();
        assert_eq!(states(bed).await, ["FAILED"]);
        assert!(errors(bed).await[0].contains("only this"));
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    in_parts on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a function with several transactions is DONE after the last, not with the first";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        bed.db.locked(k(&tickets), async || {
            for id in 1..=3 {
                bed.db.transaction(async || Ok::<_, Error>(bed.insert(id).await?)).await?;
                assert_eq!(states(bed).await, ["RUNNING"]);
            }
            let reading = TransactionOptions::new().read_only();
            let seen = bed.db.transaction_with(reading, async || Ok::<_, Error>(bed.visible().await?)).await?;
            assert_eq!(seen, [1, 2, 3]);
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(states(bed).await, ["DONE"]);
    }
}

case! {
    read_only on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a transaction that cannot write has its ticket, too; so has one in which nothing ran";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        let reading = TransactionOptions::new().read_only().lock(k(&tickets));
        bed.db.transaction_with(reading, async || Ok::<_, Error>(bed.visible().await?)).await.unwrap();
        let idle = TransactionOptions::new().lock(k(&tickets));
        bed.db.transaction_with(idle, async || Ok::<_, Error>(())).await.unwrap();
        let autocommit = TransactionOptions::new().propagation(Propagation::NotSupported).lock(k(&tickets));
        bed.db.transaction_with(autocommit, async || Ok::<_, Error>(bed.insert(1).await?)).await.unwrap();
        assert_eq!(states(bed).await, ["DONE", "DONE", "DONE"]);
    }
}

case! {
    every_level on sqlite, postgres, mysql; bed = ticketed::<B>();
    "above READ COMMITTED a ticket is DONE with its transaction as well, however often its process has said that it is alive";
    async fn<B>(bed) {
        let tickets = tickets(bed).lease(Duration::from_millis(150));
        for (id, level) in (1..).zip([Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable]) {
            let with = TransactionOptions::new().isolation(level).lock(k(&tickets));
            bed.db.transaction_with(with, async || {
                bed.insert(id).await?;
                if B::SERVER {
                    let beats = "select count(*) from tx_ticket_process where heartbeat > (select max(started) from tx_ticket)";
                    while bed.control_ints(beats).await != [1] {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
                Ok::<_, Error>(())
            }).await.unwrap();
        }
        assert_eq!(states(bed).await, ["DONE", "DONE", "DONE"]);
    }
}

case! {
    in_a_variable on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a lock in a variable is DONE, FAILED or CANCELLED as it is let go";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        let held = bed.db.lock(k(&tickets)).await.unwrap();
        let tx = held.begin().await.unwrap();
        B::exec(&tx, "insert into t (id) values (1)").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(states(bed).await, ["RUNNING"]);
        held.release().await.unwrap();
        bed.db.lock(k(&tickets)).await.unwrap().release_failed("the disk is full").await.unwrap();
        drop(bed.db.lock(k(&tickets)).await.unwrap());
        until_states(bed, &["DONE", "FAILED", "CANCELLED"]).await;
        assert_eq!(errors(bed).await[1], "the disk is full");
    }
}

/// A statement that fails as one in a conflict does; on SQLite none can.
fn conflict<B: Backend>() -> &'static str {
    match B::LABEL {
        "postgres" => "do $$ begin raise exception using errcode = '40001'; end $$",
        _ => "signal sqlstate '40001' set mysql_errno = 1213",
    }
}

case! {
    again on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a key that the chain holds already has one ticket, and a function run again has one for all attempts";
    async fn<B>(bed) {
        let tickets = tickets(bed);
        bed.db.locked(k(&tickets), async || {
            bed.db.locked(k(&tickets), async || Ok::<_, Error>(())).await
        }).await.unwrap();
        assert_eq!(states(bed).await, ["DONE"]);
        if !B::SERVER {
            return;
        }
        let attempts = AtomicI64::new(0);
        let with = TransactionOptions::new().lock(k(&tickets));
        let retried = bed.db.retrying(Retry::attempts(3), with, async || {
            let attempt = attempts.fetch_add(1, Ordering::SeqCst);
            bed.insert(attempt).await?;
            assert_eq!(states(bed).await, ["DONE", "RUNNING"]);
            if attempt < 2 {
                drop(B::exec(&bed.db, conflict::<B>()).await);
            }
            Ok::<_, Error>(())
        });
        retried.await.unwrap();
        assert_eq!(states(bed).await, ["DONE", "DONE"]);
    }
}
