//! Leases that are lost while they are relied on.

use std::time::Duration;

use tokio::time::timeout;
use tx_runtime::{Db, Error, Isolation, TransactionOptions};
use tx_tests::{Backend, Bed, Proxy, case};

use crate::setup::{KEY, LONG, PATIENCE, SHORT, Setup, fenced, k, until};

/// As [`fenced`], with the pool's connections through a proxy.
async fn fenced_and_proxied<B: Backend>() -> Option<(Bed<B>, Proxy)> {
    let (bed, proxy) = Bed::<B>::impatient(2).await?;
    bed.control_raw(Db::<B>::fence_table()).await;
    Some((bed, proxy))
}

case! {
    l_10 on sqlite, postgres, mysql; bed = fenced::<B>();
    "a lease that is lost before COMMIT refuses it, and nothing is stored";
    async fn<B>(bed) {
        let Some(setup) = Setup::new(LONG).await else { return };
        for somebody_has_it in [false, true] {
            let mut next = None;
            let refused = bed.db.locked(k(&setup.here), async || {
                let work = bed.db.transaction(async || {
                    bed.insert(1).await?;
                    setup.take_away().await;
                    if somebody_has_it {
                        let theirs = tokio::spawn({
                            let (db, lock) = (bed.db.clone(), k(&setup.there).no_wait());
                            async move { db.lock(lock).await }
                        });
                        next = Some(theirs.await.unwrap()?);
                    }
                    Ok::<_, Error>(())
                });
                work.await
            });
            let error = refused.await.unwrap_err();
            assert!(matches!(&error, Error::LockLost { key, .. } if key == "k"), "{error}");
            assert!(error.is_retryable());
            assert!(bed.rows().await.is_empty());
            assert_eq!(setup.is_held().await, somebody_has_it, "opening took it from the next holder");
            if let Some(next) = next {
                next.release().await.unwrap();
            }
        }
        let held = bed.db.lock(k(&setup.here)).await.unwrap();
        setup.take_away().await;
        let error = held.release().await.unwrap_err();
        assert!(matches!(error, Error::LockLost { .. }), "{error}");
    }
}

case! {
    l_11 on postgres, mysql; bed = fenced_and_proxied::<B>();
    "a lease lost between the last question and COMMIT: the next holder waits, and reads what was committed";
    async fn<B>(bed, proxy) {
        let Some(setup) = Setup::new(LONG).await else { return };
        let trap = proxy.hold_before("COMMIT");
        let overtaken = tokio::spawn({
            let (bed, lock) = (bed.clone(), k(&setup.here));
            async move {
                let work = bed.db.locked(lock, async || {
                    bed.db.transaction(async || Ok::<_, Error>(bed.insert(1).await?)).await
                });
                work.await
            }
        });
        trap.sprung().await;
        // Redis has said yes; now it forgets.
        let _: String = setup.redis.ask(&["FLUSHALL"]).await;
        let mut overtaking = tokio::spawn({
            let (bed, lock) = (bed.clone(), k(&setup.there));
            async move {
                let work = bed.db.locked(lock, async || {
                    bed.db.transaction(async || Ok::<_, Error>(bed.visible().await?)).await
                });
                work.await
            }
        });
        until("the next holder has the lock", async || setup.is_held().await).await;
        let harm = Duration::from_millis(300);
        assert!(timeout(harm, &mut overtaking).await.is_err(), "it read before COMMIT");
        trap.release();
        overtaken.await.unwrap().unwrap_or_else(|error| {
            // Only what is done after COMMIT may find out.
            panic!("COMMIT was not refused by anybody: {error}")
        });
        assert_eq!(overtaking.await.unwrap().unwrap(), [1]);
    }
}

case! {
    l_09 on postgres, mysql; bed = fenced_and_proxied::<B>();
    "a lock under which a COMMIT was not answered is left to its lease";
    async fn<B>(bed, proxy) {
        let Some(setup) = Setup::new(SHORT).await else { return };
        for id in [1, 2] {
            let expired = setup.expired().await;
            let trap = match id {
                1 => proxy.cut_before("COMMIT"),
                _ => proxy.cut_after("COMMIT"),
            };
            let unknown = bed.db.locked(k(&setup.here), async || {
                let work = async || {
                    bed.insert(id).await?;
                    // Nobody can be asked.
                    proxy.shut(true);
                    Ok::<_, Error>(())
                };
                bed.db.transaction(work).await
            });
            // The caller is told before the lease ends.
            let error = timeout(PATIENCE, unknown).await.unwrap().unwrap_err();
            proxy.shut(false);
            assert!(matches!(error, Error::CommitUnknown { .. }), "{error}");
            assert!(trap.has_sprung());
            // Renewed last before COMMIT; from here on the lease only gets shorter.
            let mut left = i64::MAX;
            while let now @ 0.. = setup.redis.ask::<i64>(&["PTTL", KEY]).await {
                assert!(now <= left, "it was renewed: {now} after {left}");
                left = now;
            }
            assert_eq!(setup.expired().await, expired + 1, "it was opened");
            // Then it is free for this process too.
            bed.db.lock(k(&setup.here)).await.unwrap().release().await.unwrap();
        }
        assert_eq!(bed.rows().await, [2], "the second COMMIT had reached the server");
    }
}

case! {
    joined_late on sqlite, postgres, mysql; bed = fenced::<B>();
    "a lease that a joined function took is checked before the owner's COMMIT, and opens after it";
    async fn<B>(bed) {
        let Some(setup) = Setup::new(LONG).await else { return };
        let owner = TransactionOptions::new().isolation(Isolation::ReadCommitted);
        for lost in [false, true] {
            let result = bed.db.transaction_with(owner.clone(), async || {
                bed.insert(1).await?;
                let joined = bed.db.locked(k(&setup.here), async || {
                    bed.db.transaction(async || Ok::<_, Error>(bed.insert(2).await?)).await
                });
                joined.await?;
                assert!(setup.is_held().await, "it was opened before the owner's COMMIT");
                if lost {
                    setup.take_away().await;
                }
                Ok::<_, Error>(())
            });
            let result = result.await;
            bed.db.drain().await;
            setup.until_open().await;
            if lost {
                assert!(matches!(result, Err(Error::LockLost { .. })), "{result:?}");
                assert!(bed.rows().await.is_empty());
            } else {
                result.unwrap();
                assert_eq!(bed.rows().await, [1, 2]);
                bed.control("delete from t").await;
            }
        }
    }
}
