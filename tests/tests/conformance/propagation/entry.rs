//! P-01 to P-21: the inner function succeeds, and so does the outer one.

use std::cell::Cell;

use tokio::time::timeout;
use tx_runtime::{Error, Propagation, transactional};
use tx_tests::{Backend, Bed, case};

use super::{AT_ONCE, Failure, inner, words};

#[transactional(db = bed.db)]
async fn required<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), Failure> {
    bed.insert(id).await?;
    assert!(bed.visible().await?.contains(&id));
    assert!(!bed.rows().await.contains(&id), "not committed yet");
    Ok(())
}

#[transactional(db = bed.db, propagation = Nested)]
async fn nested<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), Failure> {
    bed.insert(id).await?;
    assert!(!bed.rows().await.contains(&id), "not committed yet");
    Ok(())
}

#[transactional(db = bed.db, propagation = Mandatory, name = "mandatory")]
async fn mandatory<B: Backend>(bed: &Bed<B>, entered: &Cell<bool>) -> Result<(), Failure> {
    entered.set(true);
    Ok(bed.insert(9).await?)
}

#[transactional(db = bed.db, propagation = Never, name = "never")]
async fn never<B: Backend>(bed: &Bed<B>, entered: &Cell<bool>) -> Result<(), Failure> {
    entered.set(true);
    Ok(bed.insert(9).await?)
}

case! {
    p_01 on sqlite, postgres, mysql;
    "Required without a transaction has one of its own";
    async fn<B>(bed) {
        // The evil: on the pool, the first row stays although the second fails.
        for id in [1, 1] {
            let sql = format!("insert into t (id) values ({id})");
            drop(B::exec(B::pool(bed.db.pool()), &sql).await);
        }
        assert_eq!(bed.rows().await, [1]);
        bed.control("delete from t").await;

        required(bed, 1).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
        let failed = bed.db.transaction(async || {
            assert!(bed.db.is_in_transaction());
            bed.insert(2).await?;
            Ok::<_, Failure>(bed.insert(1).await?)
        });
        assert!(matches!(failed.await, Err(Failure::Transaction(Error::Database(_)))));
        assert!(!bed.db.is_in_transaction());
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    p_01_wire on postgres, mysql;
    "Required without a transaction is one BEGIN and one COMMIT on one connection";
    async fn<B>(bed, proxy) {
        required(bed, 1).await.unwrap();
        assert_eq!(proxy.events(), [(0, "BEGIN"), (0, "COMMIT")]);
    }
}

case! {
    p_02 on sqlite, postgres, mysql;
    "Required joins the caller's transaction";
    async fn<B>(bed) { joins(bed, Propagation::Required).await; }
}

case! {
    p_02_wire on postgres, mysql; pool = 1;
    "a joining scope sends no BEGIN and no SAVEPOINT";
    async fn<B>(bed, proxy) {
        for mode in [Propagation::Required, Propagation::Supports, Propagation::Mandatory] {
            proxy.clear();
            bed.control("delete from t").await;
            bed.db.transaction(async || {
                bed.insert(1).await?;
                let joined = async || Ok::<_, Failure>(bed.insert(2).await?);
                bed.db.transaction_with(inner(mode), joined).await
            }).await.unwrap();
            assert_eq!(proxy.events(), [(0, "BEGIN"), (0, "COMMIT")], "{mode}");
            assert_eq!(bed.rows().await, [1, 2], "{mode}");
        }
    }
}

case! {
    p_03 on sqlite, postgres, mysql;
    "Required inside a savepoint shares the savepoint's fate";
    async fn<B>(bed) { joins_the_savepoint(bed, Propagation::Required).await; }
}

case! {
    p_03_wire on postgres, mysql;
    "Required inside a savepoint sends no second SAVEPOINT";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.savepoint(async || {
                bed.insert(2).await?;
                required(bed, 3).await
            }).await
        }).await.unwrap();
        assert_eq!(words(proxy), ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"]);
    }
}

case! {
    p_04 on sqlite, postgres, mysql; pool = 1;
    "RequiresNew without a transaction needs one connection";
    async fn<B>(bed) {
        bed.db.transaction_with(inner(Propagation::RequiresNew), async || {
            bed.insert(1).await?;
            assert!(bed.rows().await.is_empty(), "not committed yet");
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
        assert_eq!(bed.db.pool().size(), 1);
    }
}

case! {
    p_05 on postgres, mysql;
    "RequiresNew commits on a second connection while the outer stays open";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let outer = bed.pid().await?;
            bed.db.transaction_with(inner(Propagation::RequiresNew), async || {
                bed.insert(2).await?;
                assert_ne!(bed.pid().await?, outer);
                assert_eq!(bed.visible().await?, [2], "the outer's row is not committed");
                assert!(bed.rows().await.is_empty());
                Ok::<_, Failure>(())
            }).await?;
            assert_eq!(bed.rows().await, [2], "committed by itself");
            assert_eq!(bed.pid().await?, outer);
            // Its own uncommitted row: still the same transaction.
            assert!(bed.visible().await?.contains(&1));
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    p_05_sqlite on sqlite;
    "RequiresNew writes before the outer's first statement, and is refused at once after it";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            let new = inner(Propagation::RequiresNew);
            let add = async |id| {
                let insert = async || Ok::<_, Failure>(bed.insert(id).await?);
                let add = bed.db.transaction_with(new.clone(), insert);
                timeout(AT_ONCE, add).await.expect("no waiting for the busy timeout")
            };
            add(2).await?;
            assert_eq!(bed.rows().await, [2]);
            bed.insert(1).await?;
            let refused = add(3).await;
            let Err(Failure::Transaction(Error::SecondWriter { function, outer })) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!((function.name(), outer.name()), ("inner", "transaction"));
            bed.insert(4).await?;
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 4]);
    }
}

case! {
    p_07 on sqlite, postgres, mysql;
    "Nested without a transaction begins and commits one";
    async fn<B>(bed) {
        nested(bed, 1).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
        let failed = bed.db.transaction_with(inner(Propagation::Nested), async || {
            bed.insert(2).await?;
            Err::<(), _>(Failure::Asked(7))
        });
        assert!(matches!(failed.await, Err(Failure::Asked(7))));
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    p_07_wire on postgres, mysql;
    "Nested without a transaction sends no SAVEPOINT";
    async fn<B>(bed, proxy) {
        nested(bed, 1).await.unwrap();
        assert_eq!(words(proxy), ["BEGIN", "COMMIT"]);
    }
}

case! {
    p_08 on sqlite, postgres, mysql;
    "Nested works in the caller's transaction and is seen outside with its COMMIT";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let outer = bed.pid().await?;
            bed.db.savepoint(async || {
                assert_eq!(bed.pid().await?, outer);
                nested(bed, 2).await
            }).await?;
            assert_eq!(bed.visible().await?, [1, 2]);
            assert!(bed.rows().await.is_empty(), "RELEASE commits nothing");
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    p_08_wire on postgres, mysql;
    "Nested is a SAVEPOINT and a RELEASE on the caller's connection";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            nested(bed, 2).await
        }).await.unwrap();
        let expected = [(0, "BEGIN"), (0, "SAVEPOINT"), (0, "RELEASE"), (0, "COMMIT")];
        assert_eq!(proxy.events(), expected);
    }
}

case! {
    p_09 on sqlite, postgres, mysql;
    "Nested in Nested rolls back alone, or with the one around it";
    async fn<B>(bed) {
        for (inner_fails, middle_fails, expected) in [
            (false, false, &[1, 2, 3][..]),
            (true, false, &[1, 2]),
            (false, true, &[1]),
        ] {
            let fail_if = |fails| if fails { Err(Failure::Asked(7)) } else { Ok(()) };
            bed.control("delete from t").await;
            bed.db.transaction(async || {
                bed.insert(1).await?;
                let middle = bed.db.savepoint(async || {
                    bed.insert(2).await?;
                    let inner = bed.db.savepoint(async || {
                        bed.insert(3).await?;
                        fail_if(inner_fails)
                    });
                    assert_eq!(inner.await.is_err(), inner_fails);
                    fail_if(middle_fails)
                });
                assert_eq!(middle.await.is_err(), middle_fails);
                Ok::<_, Failure>(())
            }).await.unwrap();
            assert_eq!(bed.rows().await, expected);
        }
    }
}

case! {
    p_09_wire on postgres, mysql;
    "Nested in Nested has a name of its own and is released first";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.savepoint(async || {
                bed.insert(2).await?;
                nested(bed, 3).await
            }).await
        }).await.unwrap();
        let names = |command: &str| -> Vec<String> {
            let log = proxy.executed().into_iter();
            // A savepoint in the same message as COMMIT is not a scope's.
            log.filter(|(_, sql)| !sql.contains("COMMIT"))
                .filter_map(|(_, sql)| Some(sql.strip_prefix(command)?.to_owned()))
                .collect()
        };
        let set = names("SAVEPOINT ");
        let mut released = names("RELEASE SAVEPOINT ");
        released.reverse();
        assert!(matches!(&set[..], [outer, inner] if outer != inner), "{set:?}");
        assert_eq!(set, released, "{:#?}", proxy.executed());
    }
}

case! {
    p_11 on sqlite, postgres, mysql;
    "Supports joins the caller's transaction";
    async fn<B>(bed) { joins(bed, Propagation::Supports).await; }
}

case! {
    p_12 on sqlite, postgres, mysql;
    "Supports inside a savepoint shares the savepoint's fate";
    async fn<B>(bed) { joins_the_savepoint(bed, Propagation::Supports).await; }
}

case! {
    p_13 on sqlite, postgres, mysql;
    "NotSupported without a transaction is autocommit";
    async fn<B>(bed) { autocommits(bed, Propagation::NotSupported).await; }
}

case! {
    p_13_wire on postgres, mysql;
    "a scope without a transaction sends neither BEGIN nor COMMIT";
    async fn<B>(bed, proxy) {
        for mode in [Propagation::NotSupported, Propagation::Never, Propagation::Supports] {
            let body = async || {
                bed.insert(1).await?;
                Ok::<_, Failure>(bed.visible().await?)
            };
            assert_eq!(bed.db.transaction_with(inner(mode), body).await.unwrap(), [1], "{mode}");
            assert_eq!(proxy.events(), [], "{mode}");
            bed.control("delete from t").await;
        }
    }
}

case! {
    p_14 on postgres, mysql;
    "NotSupported suspends the transaction and autocommits on another connection";
    async fn<B>(bed) {
        let failed = bed.db.transaction(async || {
            bed.insert(1).await?;
            let outer = bed.pid().await?;
            bed.db.transaction_with(inner(Propagation::NotSupported), async || {
                assert!(!bed.db.is_in_transaction());
                assert_ne!(bed.pid().await?, outer);
                bed.insert(2).await?;
                assert_eq!(bed.rows().await, [2], "committed by its own statement");
                assert_eq!(bed.visible().await?, [2], "the outer's row is not committed");
                Ok::<_, Failure>(())
            }).await?;
            assert_eq!(bed.pid().await?, outer);
            assert!(bed.visible().await?.contains(&1), "the same transaction");
            Err::<(), _>(Failure::Asked(7))
        });
        assert!(matches!(failed.await, Err(Failure::Asked(7))));
        assert_eq!(bed.rows().await, [2]);
    }
}

case! {
    p_14_sqlite on sqlite;
    "NotSupported beside an open transaction reads what is committed, and may not write";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let refused = bed.db.transaction_with(inner(Propagation::NotSupported), async || {
                assert!(bed.visible().await?.is_empty(), "the outer's row is not committed");
                let write = timeout(AT_ONCE, bed.insert(2));
                write.await.expect("no waiting for the busy timeout")?;
                Ok::<_, Failure>(())
            });
            let refused = refused.await;
            let Err(Failure::Transaction(Error::SecondWriter { function, .. })) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(function.name(), "inner");
            bed.insert(3).await?;
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 3]);
    }
}

case! {
    p_16 on sqlite, postgres, mysql;
    "Mandatory without a transaction is refused before its body, and connects to nothing";
    async fn<B>(bed) {
        let entered = Cell::new(false);
        let refused = mandatory(bed, &entered).await;
        let Err(Failure::Transaction(Error::NoTransaction { function })) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(function.name(), "mandatory");
        assert!(!entered.get());
        assert_eq!(bed.db.pool().size(), 0);
    }
}

case! {
    p_17 on sqlite, postgres, mysql;
    "Mandatory joins the caller's transaction";
    async fn<B>(bed) { joins(bed, Propagation::Mandatory).await; }
}

case! {
    p_18 on sqlite, postgres, mysql;
    "Mandatory inside a savepoint shares the savepoint's fate";
    async fn<B>(bed) { joins_the_savepoint(bed, Propagation::Mandatory).await; }
}

case! {
    p_19 on sqlite, postgres, mysql;
    "Never without a transaction is autocommit";
    async fn<B>(bed) { autocommits(bed, Propagation::Never).await; }
}

case! {
    p_20 on sqlite, postgres, mysql;
    "Never in a transaction is refused before its body, and the transaction goes on";
    async fn<B>(bed) {
        let entered = Cell::new(false);
        bed.db.transaction_with(inner(Propagation::Required).name("owner"), async || {
            bed.insert(1).await?;
            let refused = never(bed, &entered).await;
            let Err(Failure::Transaction(refused)) = refused else {
                panic!("{refused:?}");
            };
            let Error::TransactionActive { function, outer } = refused else {
                panic!("{refused:?}");
            };
            assert_eq!((function.name(), outer.name()), ("never", "owner"));
            assert!(!bed.db.is_rollback_only());
            bed.insert(3).await?;
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert!(!entered.get());
        assert_eq!(bed.rows().await, [1, 3]);

        // Also where nothing has been begun on the server yet.
        bed.db.transaction(async || {
            assert!(never(bed, &entered).await.is_err());
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert!(!entered.get());
    }
}

case! {
    p_21 on sqlite, postgres, mysql;
    "Never in a savepoint is refused before its body, and the savepoint is kept";
    async fn<B>(bed) {
        let entered = Cell::new(false);
        bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.savepoint(async || {
                bed.insert(2).await?;
                let refused = never(bed, &entered).await;
                let Err(Failure::Transaction(Error::TransactionActive { .. })) = refused else {
                    panic!("{refused:?}");
                };
                bed.insert(3).await?;
                Ok::<_, Failure>(())
            }).await
        }).await.unwrap();
        assert!(!entered.get());
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

/// A scope of `mode` works in the caller's transaction, and its failure is the caller's.
async fn joins<B: Backend>(bed: &Bed<B>, mode: Propagation) {
    bed.db
        .transaction(async || {
            bed.insert(1).await?;
            let outer = bed.pid().await?;
            bed.db
                .transaction_with(inner(mode), async || {
                    bed.insert(2).await?;
                    assert_eq!(bed.pid().await?, outer);
                    assert_eq!(bed.visible().await?, [1, 2]);
                    Ok::<_, Failure>(())
                })
                .await?;
            assert!(bed.rows().await.is_empty(), "its end commits nothing");
            assert!(bed.visible().await?.contains(&1));
            Ok::<_, Failure>(())
        })
        .await
        .unwrap();
    assert_eq!(bed.rows().await, [1, 2]);

    // A savepoint of its own would save the caller.
    let doomed = bed.db.transaction(async || {
        bed.insert(3).await?;
        let failed = bed.db.transaction_with(inner(mode), async || {
            bed.insert(4).await?;
            Err::<(), _>(Failure::Asked(7))
        });
        assert!(matches!(failed.await, Err(Failure::Asked(7))));
        Ok::<_, Failure>(())
    });
    let doomed = doomed.await;
    let unexpected = matches!(
        doomed,
        Err(Failure::Transaction(Error::UnexpectedRollback { .. }))
    );
    assert!(unexpected, "{doomed:?}");
    assert_eq!(bed.rows().await, [1, 2]);
}

/// A scope of `mode` inside a savepoint is kept and rolled back with it.
async fn joins_the_savepoint<B: Backend>(bed: &Bed<B>, mode: Propagation) {
    for fails in [false, true] {
        bed.control("delete from t").await;
        bed.db
            .transaction(async || {
                bed.insert(1).await?;
                let savepoint = bed.db.savepoint(async || {
                    bed.insert(2).await?;
                    let joined = async || Ok::<_, Failure>(bed.insert(3).await?);
                    bed.db.transaction_with(inner(mode), joined).await?;
                    assert_eq!(bed.visible().await?, [1, 2, 3]);
                    if fails {
                        return Err(Failure::Asked(7));
                    }
                    Ok(())
                });
                assert_eq!(savepoint.await.is_err(), fails);
                Ok::<_, Failure>(())
            })
            .await
            .unwrap();
        let expected = if fails { &[1][..] } else { &[1, 2, 3] };
        assert_eq!(bed.rows().await, expected);
    }
}

/// A scope of `mode` without a transaction commits each statement, and undoes nothing.
async fn autocommits<B: Backend>(bed: &Bed<B>, mode: Propagation) {
    let failed = bed.db.transaction_with(inner(mode), async || {
        assert!(!bed.db.is_in_transaction());
        bed.insert(1).await?;
        assert_eq!(bed.rows().await, [1], "committed by the statement itself");
        Err::<(), _>(Failure::Asked(7))
    });
    assert!(matches!(failed.await, Err(Failure::Asked(7))));
    assert_eq!(bed.rows().await, [1]);
}
