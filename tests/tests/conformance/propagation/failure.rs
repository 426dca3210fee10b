//! P-22 to P-33: the inner function fails, or the outer one after it.

use std::error::Error as _;

use tx_runtime::{CauseKind, Error, Outcome, Propagation, transactional};
use tx_tests::{Backend, Bed, case};

use super::{Failure, early, inner, late, words};

/// Writes, and then fails as asked.
#[transactional(db = bed.db, name = "inner")]
async fn required_fails<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), Failure> {
    bed.insert(id).await?;
    Err(Failure::Asked(id))
}

#[transactional(db = bed.db, propagation = Supports, name = "inner")]
async fn supports_fails<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), Failure> {
    bed.insert(id).await?;
    Err(Failure::Asked(id))
}

#[transactional(db = bed.db, propagation = Nested, name = "nested")]
async fn nested_fails<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), Failure> {
    bed.insert(id).await?;
    Err(Failure::Asked(id))
}

#[transactional(db = bed.db)]
async fn passes_on<B: Backend>(bed: &Bed<B>) -> Result<(), Failure> {
    bed.insert(1).await?;
    required_fails(bed, 2).await?;
    Ok(bed.insert(3).await?)
}

#[transactional(db = bed.db, name = "outer")]
async fn swallows<B: Backend>(
    bed: &Bed<B>,
    inner: impl AsyncFnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    bed.insert(1).await?;
    assert!(matches!(inner().await, Err(Failure::Asked(2))));
    assert!(bed.db.is_rollback_only());
    let refused = bed.insert(3).await.map_err(Error::from);
    assert!(matches!(refused, Err(Error::Doomed { .. })), "{refused:?}");
    Ok(())
}

case! {
    p_22 on sqlite, postgres, mysql;
    "a joined function's error that is passed on is the caller's, and nothing is stored";
    async fn<B>(bed) {
        let failed = passes_on(bed).await;
        assert!(matches!(failed, Err(Failure::Asked(2))), "{failed:?}");
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    p_23 on sqlite, postgres, mysql;
    "a joined function's error that is swallowed comes back as UnexpectedRollback";
    async fn<B>(bed) {
        let doomed = swallows(bed, async || required_fails(bed, 2).await).await;
        assert_dooms_the_owner(doomed);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    p_24 on sqlite, postgres, mysql;
    "an error that leaves a Nested scope is undone there, and the owner commits";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let nested = bed.db.savepoint(async || {
                bed.insert(2).await?;
                required_fails(bed, 3).await
            });
            assert!(matches!(nested.await, Err(Failure::Asked(3))));
            assert!(!bed.db.is_rollback_only());
            bed.insert(4).await?;
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 4]);
    }
}

case! {
    p_24_wire on postgres, mysql;
    "an error that leaves a Nested scope is ROLLBACK TO and no ROLLBACK";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let nested = bed.db.savepoint(async || required_fails(bed, 3).await);
            assert!(nested.await.is_err());
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(words(proxy), ["BEGIN", "SAVEPOINT", "ROLLBACK TO", "COMMIT"]);
    }
}

case! {
    p_25 on sqlite, postgres, mysql;
    "an error swallowed inside a Nested scope ends at its boundary, and the owner commits";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let options = inner(Propagation::Nested).name("nested");
            let nested = bed.db.transaction_with(options, async || {
                bed.insert(2).await?;
                assert!(required_fails(bed, 3).await.is_err());
                assert!(bed.db.is_rollback_only());
                Ok::<_, Failure>(())
            });
            let nested = nested.await;
            let Err(Failure::Transaction(error)) = nested else {
                panic!("{nested:?}");
            };
            let Error::UnexpectedRollback { function, by, cause, .. } = error else {
                panic!("{error:?}");
            };
            assert_eq!((function.name(), by.name()), ("nested", "inner"));
            assert_eq!(cause.to_string(), "failure 3");
            assert!(!bed.db.is_rollback_only());
            assert_eq!(bed.visible().await?, [1], "rolled back before the boundary returned");
            bed.insert(4).await?;
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 4]);
    }
}

case! {
    p_26 on sqlite, postgres, mysql;
    "an error of RequiresNew that is swallowed costs the outer nothing";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            early(bed, 1).await?;
            let failed = bed.db.transaction_with(inner(Propagation::RequiresNew), async || {
                bed.insert(2).await?;
                Err::<(), _>(Failure::Asked(7))
            });
            assert!(matches!(failed.await, Err(Failure::Asked(7))));
            assert!(!bed.db.is_rollback_only());
            late(bed, 1).await?;
            assert_eq!(bed.visible().await?, [1]);
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    p_27 on sqlite, postgres, mysql;
    "what RequiresNew committed stays when the outer fails";
    async fn<B>(bed) {
        let failed = bed.db.transaction(async || {
            early(bed, 1).await?;
            let add = async || Ok::<_, Failure>(bed.insert(2).await?);
            bed.db.transaction_with(inner(Propagation::RequiresNew), add).await?;
            late(bed, 1).await?;
            assert_eq!(bed.visible().await?, [1, 2]);
            Err::<(), _>(Failure::Asked(7))
        });
        assert!(matches!(failed.await, Err(Failure::Asked(7))));
        assert_eq!(bed.rows().await, [2]);
    }
}

case! {
    p_29 on sqlite, postgres, mysql;
    "an error of Nested that is swallowed undoes its own work only";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            assert!(matches!(nested_fails(bed, 2).await, Err(Failure::Asked(2))));
            assert_eq!(bed.visible().await?, [1]);
            bed.insert(3).await?;
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 3]);
    }
}

case! {
    p_29_wire on postgres, mysql;
    "an error of Nested is undone by ROLLBACK TO on the transaction's connection";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            assert!(nested_fails(bed, 2).await.is_err());
            Ok::<_, Failure>(())
        }).await.unwrap();
        let expected = [(0, "BEGIN"), (0, "SAVEPOINT"), (0, "ROLLBACK TO"), (0, "COMMIT")];
        assert_eq!(proxy.events(), expected);
    }
}

case! {
    p_30 on sqlite, postgres, mysql;
    "what Nested kept is gone when the outer fails";
    async fn<B>(bed) {
        let failed = bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.savepoint(async || Ok::<_, Failure>(bed.insert(2).await?)).await?;
            assert_eq!(bed.visible().await?, [1, 2]);
            Err::<(), _>(Failure::Asked(7))
        });
        assert!(matches!(failed.await, Err(Failure::Asked(7))));
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    p_31 on sqlite, postgres, mysql;
    "a swallowed error of a joined Supports dooms the owner as that of Required does";
    async fn<B>(bed) {
        let doomed = swallows(bed, async || supports_fails(bed, 2).await).await;
        assert_dooms_the_owner(doomed);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    p_32 on sqlite, postgres, mysql;
    "Supports without a transaction has nothing to undo";
    async fn<B>(bed) {
        let failed = supports_fails(bed, 1).await;
        assert!(matches!(failed, Err(Failure::Asked(1))), "{failed:?}");
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    p_33 on sqlite, postgres, mysql;
    "an error of NotSupported undoes nothing and costs the outer nothing";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            early(bed, 1).await?;
            let failed = bed.db.transaction_with(inner(Propagation::NotSupported), async || {
                bed.insert(2).await?;
                Err::<(), _>(Failure::Asked(7))
            });
            assert!(matches!(failed.await, Err(Failure::Asked(7))));
            assert!(!bed.db.is_rollback_only());
            late(bed, 1).await?;
            Ok::<_, Failure>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

/// The owner named `outer` returned `Ok` after `inner` had failed with `Failure::Asked(2)`.
fn assert_dooms_the_owner(result: Result<(), Failure>) {
    let Err(Failure::Transaction(error)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(error.outcome(), Outcome::RolledBack);
    let source = error.source().map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("failure 2"), "{error}");
    let Error::UnexpectedRollback {
        function,
        by,
        cause,
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((function.name(), by.name()), ("outer", "inner"));
    assert_eq!(cause.kind(), CauseKind::Returned);
    let told = error.to_string();
    assert!(
        told.contains("`inner`") && told.contains("failure 2"),
        "{told}"
    );
}
