//! U-13 to U-16: what the scopes of one transaction keep for each other.

use std::sync::{Arc, Weak};

use tokio::task::yield_now;
use tx_runtime::{Error, Propagation, TransactionOptions};
use tx_tests::{Backend, Bed, case, poll_n};

/// A value, of two types.
#[derive(Debug, PartialEq)]
struct Actor(&'static str);
#[derive(Debug, PartialEq)]
struct Counter(i64);

fn mode(propagation: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(propagation)
}

fn actor<B: Backend>(bed: &Bed<B>) -> Result<Option<&'static str>, Error> {
    Ok(bed.db.value::<Actor>()?.map(|actor| actor.0))
}

/// The transaction-scoped value through a suspension, with `pauses` in between.
async fn suspended<B: Backend>(bed: &Bed<B>, pauses: usize) -> Result<(), Error> {
    let pause = async || {
        for _ in 0..pauses {
            yield_now().await;
        }
    };
    bed.db.put(Actor("outer"))?;
    pause().await;
    for suspending in [Propagation::RequiresNew, Propagation::NotSupported] {
        bed.db
            .transaction_with(mode(suspending), async || {
                pause().await;
                if suspending == Propagation::NotSupported {
                    assert!(matches!(actor(bed), Err(Error::NoTransaction { .. })));
                    return Ok::<_, Error>(());
                }
                assert_eq!(actor(bed)?, None);
                bed.db.put(Actor("inner"))?;
                pause().await;
                assert_eq!(actor(bed)?, Some("inner"));
                Ok(())
            })
            .await?;
        pause().await;
        assert_eq!(actor(bed)?, Some("outer"));
    }
    Ok(())
}

case! {
    u_13 on sqlite, postgres, mysql;
    "a value belongs to its transaction: absent in one of its own, back after it";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            suspended(bed, 0).await?;
            bed.db.transaction(async || {
                assert_eq!(actor(bed)?, Some("outer"));
                bed.db.put(Actor("joined"))?;
                bed.db.put(Counter(1))
            }).await?;
            // One for each type, and the latest counts.
            assert_eq!(actor(bed)?, Some("joined"));
            assert_eq!(bed.db.value()?, Some(Arc::new(Counter(1))));
            assert_eq!(bed.db.value::<String>()?, None);
            Ok::<_, Error>(())
        }).await.unwrap();
        // In an explicit transaction.
        let tx = bed.db.begin().await.unwrap();
        tx.within(async || bed.db.put(Actor("by hand"))).await.unwrap();
        assert_eq!(tx.within(async || actor(bed)).await.unwrap(), Some("by hand"));
        tx.commit().await.unwrap();
    }
}

case! {
    u_13_savepoint on sqlite, postgres, mysql;
    "a value put in a savepoint is gone with it, and what it had replaced is there again";
    async fn<B>(bed) {
        for written in [false, true] {
            bed.control("delete from t").await;
            bed.db.transaction(async || {
                bed.db.put(Actor("outer"))?;
                let nested = async |id: i64, name: &'static str, keeps: bool| {
                    let scope = bed.db.savepoint(async || {
                        if written {
                            bed.insert(id).await?;
                        }
                        bed.db.put(Actor(name))?;
                        assert_eq!(actor(bed)?, Some(name));
                        if keeps { Ok(()) } else { Err(Error::OutsideScope) }
                    });
                    assert_eq!(scope.await.is_ok(), keeps);
                };
                nested(1, "undone", false).await;
                assert_eq!(actor(bed)?, Some("outer"));
                nested(2, "kept", true).await;
                assert_eq!(actor(bed)?, Some("kept"));
                // Kept by a savepoint that is undone itself.
                let around = bed.db.transaction_with(mode(Propagation::Nested), async || {
                    nested(3, "kept for nothing", true).await;
                    assert_eq!(actor(bed)?, Some("kept for nothing"));
                    Err::<(), _>(Error::OutsideScope)
                });
                around.await.unwrap_err();
                assert_eq!(actor(bed)?, Some("kept"));
                Ok::<_, Error>(())
            }).await.unwrap();
            assert_eq!(bed.rows().await, if written { vec![2] } else { vec![] });
        }
    }
}

case! {
    u_13_dropped on sqlite, postgres, mysql;
    "a value put in a savepoint whose scope was dropped half-way is gone";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.put(Actor("outer"))?;
            let nested = bed.db.transaction_with(mode(Propagation::Nested), async || {
                bed.db.put(Actor("dropped"))?;
                std::future::pending::<Result<(), Error>>().await
            });
            poll_n(nested, 1).await;
            assert_eq!(actor(bed)?, Some("outer"));
            Ok::<_, Error>(())
        }).await.unwrap();
    }
}

case! {
    u_13_ended on sqlite, postgres, mysql;
    "values are dropped with the end of their transaction, before its after_ hooks";
    async fn<B>(bed) {
        for (written, fails) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut weak = Weak::<Counter>::new();
            let ended = bed.db.transaction(async || {
                if written {
                    bed.insert(1).await?;
                }
                bed.db.put(Counter(1))?;
                weak = Arc::downgrade(&bed.db.value::<Counter>()?.expect("it was put"));
                let seen = weak.clone();
                bed.db.after_completion(async move |_| assert!(seen.upgrade().is_none()))?;
                if fails { Err(Error::OutsideScope) } else { Ok(()) }
            });
            assert_eq!(ended.await.is_err(), fails);
            assert!(weak.upgrade().is_none());
            bed.control("delete from t").await;
        }
    }
}

case! {
    u_14 on sqlite, postgres, mysql;
    "outside of a transaction there are no values: an error, not a loss";
    async fn<B>(bed) {
        let told = bed.db.put(Actor("nobody"));
        assert!(matches!(told, Err(Error::NoTransaction { function }) if function.file().ends_with("values.rs")), "{told:?}");
        assert!(matches!(actor(bed), Err(Error::NoTransaction { .. })));
        bed.db.transaction_with(mode(Propagation::Supports), async || {
            assert!(matches!(bed.db.put(Actor("nobody")), Err(Error::NoTransaction { .. })));
            Ok::<_, Error>(())
        }).await.unwrap();
        // Another Db's transaction is none of this one.
        let other = Bed::<B>::new().await.expect("the server is there");
        other.db.transaction(async || {
            other.db.put(Actor("other"))?;
            assert!(matches!(actor(bed), Err(Error::NoTransaction { .. })));
            Ok::<_, Error>(())
        }).await.unwrap();
        other.finish().await;
    }
}

case! {
    u_16 on sqlite, postgres, mysql;
    "values stay with their transaction when tasks move between the threads of the runtime";
    async fn<B>(bed) {
        let tasks = (0..8).map(|_| {
            let bed = Arc::clone(bed);
            tokio::spawn(async move {
                bed.db.transaction(async || suspended(&bed, 50).await).await
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap().unwrap();
        }
    }
}
