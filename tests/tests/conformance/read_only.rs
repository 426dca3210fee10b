//! Group D: scopes that only read, whom they may join, and where they run.

use std::sync::Arc;

use sqlx::error::DatabaseError;
use tokio::sync::oneshot;
use tx_runtime::{Error, Isolation, Outcome, Propagation, TransactionOptions, read_your_writes};
use tx_tests::{Backend, Bed, case};

fn reader() -> TransactionOptions {
    TransactionOptions::new().read_only().name("reader")
}

fn mode(propagation: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(propagation)
}

/// The code with which the server refuses a write.
fn refusal<B: Backend>() -> &'static str {
    if B::SERVER { "25006" } else { "8" }
}

/// Checks that the server, and nobody else, has refused to write.
fn assert_refused<B: Backend>(written: Result<(), sqlx::Error>) {
    let error = written.expect_err("a write has to be refused");
    let code = error.as_database_error().and_then(DatabaseError::code);
    assert_eq!(code.as_deref(), Some(refusal::<B>()), "{error}");
}

case! {
    d_02 on sqlite, postgres, mysql;
    "the server refuses every write in a read_only scope, at every isolation level";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (1)").await;
        let levels = [
            None,
            Some(Isolation::ReadUncommitted),
            Some(Isolation::ReadCommitted),
            Some(Isolation::RepeatableRead),
            Some(Isolation::Serializable),
        ];
        for level in levels {
            let options = level.map_or(reader(), |level| reader().isolation(level));
            let told = bed.db.transaction_with(options, async || {
                assert!(bed.db.is_read_only());
                assert_eq!(bed.visible().await?, [1]);
                assert_refused::<B>(bed.insert(2).await);
                Ok::<_, Error>(())
            });
            // A failed statement dooms as always.
            assert!(matches!(told.await, Err(Error::UnexpectedRollback { .. })), "{level:?}");
        }
        assert!(!bed.db.is_read_only());
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    d_02_wire on postgres, mysql; pool = 1;
    "read_only and the level come in the message that begins";
    async fn<B>(bed, proxy) {
        // What the driver sends when it connects is not ours.
        bed.db.transaction(async || Ok::<_, Error>(bed.visible().await?)).await.unwrap();
        proxy.clear();
        let options = reader().isolation(Isolation::Serializable);
        let scope = bed.db.transaction_with(options, async || {
            bed.visible().await?;
            Ok::<_, Error>(())
        });
        scope.await.unwrap();
        let sent: Vec<_> = proxy.executed().into_iter().map(|(_, sql)| sql).collect();
        assert_eq!(sent.len(), 3, "BEGIN, the statement, COMMIT: {sent:?}");
        assert!(sent[0].contains("READ ONLY") && sent[0].contains("SERIALIZABLE"), "{sent:?}");
    }
}

case! {
    d_03 on sqlite, postgres, mysql; pool = 1;
    "the connection can write again after a read_only scope, however that has ended";
    async fn<B>(bed) {
        for (id, end) in (1..).zip(["commit", "error", "refused write", "drop"]) {
            let (reads, has_read) = oneshot::channel();
            let scope = bed.db.transaction_with(reader(), async || {
                bed.visible().await?;
                reads.send(()).ok();
                match end {
                    "commit" => Ok(()),
                    "error" => Err(Error::Database(sqlx::Error::RowNotFound)),
                    "refused write" => Ok(bed.insert(99).await?),
                    _ => std::future::pending().await,
                }
            });
            if end == "drop" {
                tokio::select! {
                    biased;
                    ended = scope => panic!("{ended:?}"),
                    _ = has_read => {}
                }
                bed.db.drain().await;
            } else {
                assert_eq!(scope.await.is_ok(), end == "commit", "{end}");
            }
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(id).await?)).await.unwrap();
            assert!(bed.rows().await.contains(&id), "after {end}");
        }
        assert_eq!(bed.rows().await, [1, 2, 3, 4]);
    }
}

case! {
    d_04 on sqlite, postgres, mysql;
    "a reader does not join a writer, which is not doomed by that";
    async fn<B>(bed) {
        let writer = TransactionOptions::new().name("writer");
        bed.db.transaction_with(writer, async || {
            bed.insert(1).await?;
            let told = bed.db.transaction_with(reader(), async || Ok::<_, Error>(())).await;
            let Err(error @ Error::ReadOnlyMismatch { function, outer, read_only }) = &told else {
                panic!("{told:?}");
            };
            assert_eq!((function.name(), outer.name(), *read_only), ("reader", "writer", true));
            assert_eq!(error.outcome(), Outcome::NotStarted);
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    d_05 on sqlite, postgres, mysql;
    "a writer does not join a reader: refused before its body, and not at its first write";
    async fn<B>(bed) {
        bed.db.transaction_with(reader(), async || {
            bed.visible().await?;
            for writer in [Propagation::Required, Propagation::Nested] {
                let writer = mode(writer);
                let told = bed.db.transaction_with(writer, async || -> Result<(), Error> {
                    panic!("its body must not run")
                });
                let told = told.await;
                assert!(matches!(told, Err(Error::ReadOnlyMismatch { read_only: false, .. })), "{told:?}");
            }
            // These begin no transaction, so they say nothing about its kind.
            for joiner in [Propagation::Mandatory, Propagation::Supports] {
                bed.db.transaction_with(mode(joiner), async || {
                    assert!(bed.db.is_read_only());
                    Ok::<_, Error>(bed.visible().await.map(drop)?)
                }).await?;
            }
            // A reader joins a reader, also as a savepoint.
            for joiner in [Propagation::Required, Propagation::Nested] {
                let reader = reader().propagation(joiner);
                bed.db.transaction_with(reader, async || Ok::<_, Error>(bed.visible().await.map(drop)?)).await?;
            }
            Ok::<_, Error>(())
        }).await.unwrap();
    }
}

case! {
    d_05_savepoint on sqlite, postgres, mysql;
    "a bare savepoint says nothing about its kind, and is of that of its transaction";
    async fn<B>(bed) {
        bed.db.transaction_with(reader(), async || {
            bed.visible().await?;
            let refused = bed.db.savepoint(async || {
                assert!(bed.db.is_read_only());
                assert_refused::<B>(bed.insert(1).await);
                Err::<(), _>(Error::Database(sqlx::Error::RowNotFound))
            });
            refused.await.unwrap_err();
            bed.db.savepoint(async || {
                bed.db.savepoint(async || Ok::<_, Error>(bed.visible().await.map(drop)?)).await
            }).await
        }).await.unwrap();
        let mut tx = bed.db.begin_with(reader()).await.unwrap();
        let mut savepoint = tx.begin().await.unwrap();
        let inner = savepoint.begin().await.unwrap();
        assert_refused::<B>(inner.within(async || bed.insert(1).await).await);
        inner.rollback().await.unwrap();
        savepoint.within(async || bed.visible().await).await.unwrap();
        savepoint.commit().await.unwrap();
        tx.commit().await.unwrap();
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    d_08 on postgres;
    "a Nested scope that only reads is one to the server, until it ends either way";
    async fn<B>(bed) {
        let nested = reader().propagation(Propagation::Nested);
        bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.transaction_with(nested.clone(), async || {
                assert!(bed.db.is_read_only());
                assert_eq!(bed.visible().await?, [1]);
                let writer = mode(Propagation::Nested);
                let writer = bed.db.transaction_with(writer, async || Ok::<_, Error>(())).await;
                assert!(matches!(writer, Err(Error::ReadOnlyMismatch { .. })));
                Ok::<_, Error>(())
            }).await?;
            assert!(!bed.db.is_read_only());
            bed.insert(2).await?;
            let refused = bed.db.transaction_with(nested, async || {
                assert_refused::<B>(bed.insert(3).await);
                Err::<(), _>(Error::Database(sqlx::Error::RowNotFound))
            });
            refused.await.unwrap_err();
            Ok::<_, Error>(bed.insert(4).await?)
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 4]);
    }
}

case! {
    d_08_refused on sqlite, mysql;
    "where the server cannot enforce a savepoint that only reads, there is none";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let nested = reader().propagation(Propagation::Nested);
            let told = bed.db.transaction_with(nested, async || Ok::<_, Error>(())).await;
            assert!(matches!(told, Err(Error::ReadOnlyMismatch { .. })), "{told:?}");
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    d_09 on sqlite, postgres, mysql;
    "the hooks of a scope that only reads run as those of any other";
    async fn<B>(bed) {
        let (tell, told) = oneshot::channel();
        bed.db.transaction_with(reader(), async || {
            bed.visible().await?;
            bed.db.after_commit(async move || tell.send(()).unwrap())
        }).await.unwrap();
        told.await.unwrap();
    }
}

case! {
    d_10 on sqlite, postgres, mysql;
    "a reader runs on the replica and nothing else does";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (100)").await;
        let replica = bed.db.pool().clone();
        let main = Bed::<B>::build(|pool| pool, |builder| builder.replica(replica)).await.unwrap();
        let read = async || main.db.transaction_with(reader(), async || Ok::<_, Error>(main.visible().await?)).await;
        assert_eq!(read().await.unwrap(), [100]);
        assert_eq!(main.db.pool().size(), 0);

        main.db.transaction(async || {
            main.insert(1).await?;
            assert_eq!(main.visible().await?, [1]);
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(main.rows().await, [1]);
        // What is read under a lock must be as fresh as the lock.
        let locked = main.db.locked("k", async || read().await).await;
        assert_eq!(locked.unwrap(), [1]);
        let locked = main.db.transaction_with(reader().lock("k"), async || Ok::<_, Error>(main.visible().await?));
        assert_eq!(locked.await.unwrap(), [1]);
        main.assert_clean().await;
        main.finish().await;
    }
}

case! {
    d_10_late_lock on sqlite, postgres, mysql;
    "a lock taken when the replica has been read is refused, as what was read may be older";
    async fn<B>(bed) {
        let replica = bed.db.pool().clone();
        let main = Bed::<B>::build(|pool| pool, |builder| builder.replica(replica)).await.unwrap();
        let told = main.db.transaction_with(reader(), async || {
            main.visible().await?;
            main.db.locked("k", async || Ok::<_, Error>(main.visible().await?)).await
        });
        let told = told.await;
        assert!(matches!(told, Err(Error::LockAfterSnapshot { .. })), "{told:?}");
        main.assert_clean().await;
        main.finish().await;
    }
}

case! {
    d_11 on sqlite, postgres, mysql;
    "a reader that runs no statement touches neither pool";
    async fn<B>(bed) {
        // Z-11
        let replica = bed.db.pool().clone();
        let main = Bed::<B>::build(|pool| pool, |builder| builder.replica(replica)).await.unwrap();
        main.db.transaction_with(reader(), async || Ok::<_, Error>(())).await.unwrap();
        assert_eq!((main.db.pool().size(), bed.db.pool().size()), (0, 0));
        main.finish().await;
    }
}

case! {
    d_13 on postgres, mysql; pool = 2;
    "a writer of its own inside a reader runs on the main pool, and the reader stays where it is";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (100)").await;
        let replica = bed.db.pool().clone();
        let main = Bed::<B>::build(
            |pool| pool.max_connections(2),
            |builder| builder.replica(replica),
        ).await.unwrap();
        main.db.transaction_with(reader(), async || {
            assert_eq!(main.visible().await?, [100]);
            main.db.transaction_with(mode(Propagation::RequiresNew), async || Ok::<_, Error>(main.insert(1).await?)).await?;
            assert_eq!(main.visible().await?, [100]);
            Ok::<_, Error>(())
        }).await.unwrap();
        // And the other way round.
        main.db.transaction(async || {
            main.insert(2).await?;
            let inner = reader().propagation(Propagation::RequiresNew);
            let seen = main.db.transaction_with(inner, async || Ok::<_, Error>(main.visible().await?)).await?;
            assert_eq!(seen, [100]);
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(main.rows().await, [1, 2]);
        main.assert_clean().await;
        main.finish().await;
    }
}

case! {
    d_14 on sqlite, postgres, mysql;
    "a replica that is gone is an error, and no silent way back";
    async fn<B>(bed) {
        let replica = bed.db.pool().clone();
        let main = Bed::<B>::build(|pool| pool, |builder| builder.replica(replica.clone())).await.unwrap();
        replica.close().await;
        let told = main.db.transaction_with(reader(), async || Ok::<_, Error>(main.visible().await?)).await;
        assert!(matches!(told, Err(Error::Begin { .. })), "{told:?}");
        main.db.transaction(async || Ok::<_, Error>(main.insert(1).await?)).await.unwrap();
        main.assert_clean().await;
        main.finish().await;
    }
}

case! {
    d_15 on sqlite, postgres, mysql;
    "options about a transaction are refused where there is none";
    async fn<B>(bed) {
        for without in [Propagation::Supports, Propagation::NotSupported, Propagation::Never] {
            let level = mode(without).isolation(Isolation::Serializable);
            for (name, options) in [("read_only", reader().propagation(without)), ("isolation", level)] {
                let told = bed.db.transaction_with(options, async || Ok::<_, Error>(())).await;
                let Err(Error::WithoutEffect { option, propagation, .. }) = &told else {
                    panic!("{told:?}");
                };
                assert_eq!((*option, *propagation), (name, without));
            }
        }
    }
}

case! {
    d_16 on sqlite, postgres, mysql;
    "a before_commit hook that writes in a reader is refused, and the scope fails";
    async fn<B>(bed) {
        let told = bed.db.transaction_with(reader(), async || {
            bed.visible().await?;
            let hook = Arc::clone(bed);
            bed.db.before_commit(async move || {
                // H-20: it can tell.
                assert!(hook.db.is_read_only());
                hook.insert(1).await
            })
        });
        let told = told.await;
        assert!(matches!(told, Err(Error::BeforeCommit { .. })), "{told:?}");
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    d_18_beside_a_writer on sqlite;
    "a reader waits for no writer, and neither takes its turn nor its lock";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let elsewhere = Arc::clone(bed);
            let seen = tokio::spawn(async move {
                let read = elsewhere.db.transaction_with(reader(), async || {
                    Ok::<_, Error>(elsewhere.visible().await?)
                });
                read.await
            });
            assert!(seen.await.unwrap()?.is_empty());
            // The same chain's suspended writer is no obstacle either.
            let inner = reader().propagation(Propagation::RequiresNew);
            let seen = bed.db.transaction_with(inner, async || Ok::<_, Error>(bed.visible().await?)).await?;
            assert!(seen.is_empty());
            Ok::<_, Error>(())
        }).await.unwrap();
        // And a writer waits for no reader.
        bed.db.transaction_with(reader(), async || {
            assert_eq!(bed.visible().await?, [1]);
            bed.control("insert into t (id) values (2)").await;
            assert_eq!(bed.visible().await?, [1], "the snapshot stays");
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    d_17 on sqlite, postgres, mysql;
    "who has written reads from the main pool, to the end of its read_your_writes";
    async fn<B>(bed) {
        // The replica is a database of its own, so that one can tell where a row was read.
        bed.control("insert into t (id) values (100)").await;
        let replica = bed.db.pool().clone();
        let main = Bed::<B>::build(|pool| pool, |builder| builder.replica(replica)).await.unwrap();
        let read = async || main.db.transaction_with(reader(), async || Ok::<_, Error>(main.visible().await?)).await.unwrap();
        let write = async |id| main.db.transaction(async || Ok::<_, Error>(main.insert(id).await?)).await.unwrap();

        write(1).await;
        assert_eq!(read().await, [100], "nobody has asked for more");
        read_your_writes(async || {
            assert_eq!(read().await, [100]);
            let failed = main.db.transaction(async || {
                main.insert(2).await?;
                Err::<(), _>(Error::OutsideScope)
            });
            failed.await.unwrap_err();
            main.db.transaction(async || Ok::<_, Error>(())).await.unwrap();
            assert_eq!(read().await, [100], "nothing was written");
            write(2).await;
            assert_eq!(read().await, [1, 2]);
            // The inner body's writes are those of the outer.
            read_your_writes(async || assert_eq!(read().await, [1, 2])).await;
        }).await;
        assert_eq!(read().await, [100]);
        read_your_writes(async || {
            read_your_writes(async || write(3).await).await;
            assert_eq!(read().await, [1, 2, 3]);
        }).await;
        // Autocommit may be anything.
        read_your_writes(async || {
            main.db.transaction_with(mode(Propagation::NotSupported), async || Ok::<_, Error>(main.insert(4).await?)).await.unwrap();
            assert_eq!(read().await, [1, 2, 3, 4]);
        }).await;
        main.assert_clean().await;
        main.finish().await;
    }
}

case! {
    d_17_chain on postgres, mysql;
    "a transaction of its own that has committed counts for the rest of the chain";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (100)").await;
        let replica = bed.db.pool().clone();
        let main = Bed::<B>::build(|pool| pool, |builder| builder.replica(replica)).await.unwrap();
        read_your_writes(async || {
            main.db.transaction_with(reader(), async || {
                assert_eq!(main.visible().await?, [100]);
                let new = mode(Propagation::RequiresNew);
                main.db.transaction_with(new, async || Ok::<_, Error>(main.insert(1).await?)).await?;
                // What has begun stays where it is; what begins after it does not.
                assert_eq!(main.visible().await?, [100]);
                let seen = main.db.transaction_with(reader().propagation(Propagation::RequiresNew), async || Ok::<_, Error>(main.visible().await?));
                assert_eq!(seen.await?, [1]);
                Ok::<_, Error>(())
            }).await.unwrap();
        }).await;
        main.assert_clean().await;
        main.finish().await;
    }
}
