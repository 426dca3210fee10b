//! Group R: which results commit, which roll back, and what the caller gets.

use std::fmt;
use std::panic::{AssertUnwindSafe, panic_any};

use futures_util::FutureExt as _;
use tx_runtime::{CauseKind, Error, Outcome, Propagation, TransactionOptions, transactional};
use tx_tests::{Backend, Bed, case};

/// What a service may return.
#[derive(Debug)]
enum Refusal {
    /// Nothing was wrong with the work; functions with a rule commit for it.
    Benign(String),
    Fatal(String),
    Transaction(Error),
}

impl Refusal {
    fn benign() -> Self {
        Self::Benign("known already".to_owned())
    }

    fn fatal() -> Self {
        Self::Fatal("not allowed".to_owned())
    }

    fn is_benign(&self) -> bool {
        matches!(self, Self::Benign(text) if text == "known already")
    }

    fn is_fatal(&self) -> bool {
        matches!(self, Self::Fatal(text) if text == "not allowed")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Benign(text) => write!(f, "benign: {text}"),
            Self::Fatal(text) => write!(f, "fatal: {text}"),
            Self::Transaction(error) => error.fmt(f),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Transaction(error)
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Transaction(error.into())
    }
}

/// Inserts and returns `result`, by the default rule.
#[transactional(db = bed.db, name = "strict")]
async fn strict<B: Backend, T>(
    bed: &Bed<B>,
    id: i64,
    result: Result<T, Refusal>,
) -> Result<T, Refusal> {
    bed.insert(id).await?;
    result
}

/// Inserts and returns `result`, but commits for a benign error too.
#[transactional(db = bed.db, name = "lenient", no_rollback_for = Refusal::Benign(_))]
async fn lenient<B: Backend, T>(
    bed: &Bed<B>,
    id: i64,
    result: Result<T, Refusal>,
) -> Result<T, Refusal> {
    bed.insert(id).await?;
    result
}

case! {
    r_01 on sqlite, postgres, mysql;
    "an error rolls back and is returned as it is";
    async fn<B>(bed) {
        let failed = strict(bed, 1, Err::<(), _>(Refusal::fatal())).await.unwrap_err();
        assert!(failed.is_fatal(), "{failed:?}");
        assert!(bed.rows().await.is_empty());
        let failed = bed.db.transaction(async || {
            bed.insert(1).await?;
            Err::<(), _>(Refusal::benign())
        });
        assert!(failed.await.unwrap_err().is_benign());
        assert!(bed.rows().await.is_empty());
    }
}

/// Functions whose error is sqlx's own.
#[transactional(db = bed.db)]
async fn plainly<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), sqlx::Error> {
    bed.insert(id).await
}

#[transactional(db = bed.db)]
async fn swallowing<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), sqlx::Error> {
    plainly(bed, id).await?;
    let _ = plainly(bed, id).await;
    Ok(())
}

case! {
    r_01_sqlx on sqlite, postgres, mysql;
    "a function may return sqlx's own error: a statement's as it is, and the scope's inside one";
    async fn<B>(bed) {
        plainly(bed, 1).await.unwrap();
        let duplicate = plainly(bed, 1).await.unwrap_err();
        let database = duplicate.as_database_error().expect("the statement's own");
        assert!(database.is_unique_violation());
        let swallowed = swallowing(bed, 2).await.unwrap_err();
        assert!(matches!(Error::of(&swallowed), Some(Error::UnexpectedRollback { .. })), "{swallowed:?}");
        let told: Result<(), sqlx::Error> = bed.db.transaction(async || {
            bed.insert(3).await?;
            bed.db.set_rollback_only("why")?;
            Ok(())
        }).await;
        let told = told.map_err(Error::from);
        assert!(matches!(told, Err(Error::RolledBack { .. })), "{told:?}");
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    r_01_wire on postgres, mysql; pool = 1;
    "an error is one ROLLBACK, and the connection serves the next scope";
    async fn<B>(bed, proxy) {
        strict(bed, 1, Err::<(), _>(Refusal::fatal())).await.unwrap_err();
        strict(bed, 2, Ok(())).await.unwrap();
        let expected = [(0, "BEGIN"), (0, "ROLLBACK"), (0, "BEGIN"), (0, "COMMIT")];
        assert_eq!(proxy.events(), expected);
    }
}

case! {
    r_02 on sqlite, postgres, mysql;
    "Ok commits and its value is returned";
    async fn<B>(bed) {
        let value = strict(bed, 1, Ok("the value".to_owned())).await.unwrap();
        assert_eq!(value, "the value");
        assert_eq!(bed.rows().await, [1]);
    }
}

#[derive(Debug, PartialEq)]
struct Payload(i64);

#[transactional(db = bed.db)]
async fn panics<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), Refusal> {
    bed.insert(id).await?;
    panic_any(Payload(id))
}

case! {
    r_03 on sqlite, postgres, mysql;
    "a panic rolls back and goes on with its payload";
    async fn<B>(bed) {
        let panicked = AssertUnwindSafe(panics(bed, 1)).catch_unwind().await.unwrap_err();
        assert_eq!(panicked.downcast_ref(), Some(&Payload(1)));
        assert!(!bed.db.is_in_transaction());
        bed.db.drain().await;
        assert!(bed.rows().await.is_empty());
        strict(bed, 1, Ok(())).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    r_03_joined on sqlite, postgres, mysql;
    "a joined function's panic that is caught dooms the owner, which is told so";
    async fn<B>(bed) {
        let doomed = bed.db.transaction(async || {
            bed.insert(1).await?;
            let panicked = AssertUnwindSafe(panics(bed, 2)).catch_unwind().await.unwrap_err();
            assert_eq!(panicked.downcast_ref(), Some(&Payload(2)));
            Ok::<_, Refusal>(())
        });
        let doomed = doomed.await;
        let Err(Refusal::Transaction(Error::UnexpectedRollback { cause, .. })) = doomed else {
            panic!("{doomed:?}");
        };
        assert_eq!(cause.kind(), CauseKind::Panicked);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    r_04 on sqlite, postgres, mysql;
    "an error under no_rollback_for commits and is returned; others roll back";
    async fn<B>(bed) {
        let kept = lenient(bed, 1, Err::<(), _>(Refusal::benign())).await.unwrap_err();
        assert!(kept.is_benign(), "{kept:?}");
        assert_eq!(bed.rows().await, [1]);
        let failed = lenient(bed, 2, Err::<(), _>(Refusal::fatal())).await.unwrap_err();
        assert!(failed.is_fatal(), "{failed:?}");
        assert_eq!(bed.rows().await, [1]);

        // The same without the attribute.
        for (id, refusal) in [(3, Refusal::benign()), (4, Refusal::fatal())] {
            let options = TransactionOptions::new().no_rollback_for(Refusal::is_benign);
            let scope = bed.db.transaction_with(options, async || {
                bed.insert(id).await?;
                Err::<(), _>(refusal)
            });
            scope.await.unwrap_err();
        }
        assert_eq!(bed.rows().await, [1, 3]);
    }
}

#[transactional(db = bed.db, no_rollback_for = Refusal::Benign(_))]
async fn breaks_at_commit<B: Backend>(bed: &Bed<B>) -> Result<(), Refusal> {
    bed.insert(1).await?;
    B::exec(&bed.db, "insert into child (id, parent_id) values (1, 99)").await?;
    Err(Refusal::benign())
}

case! {
    // MySQL checks no constraint at COMMIT.
    r_05 on sqlite, postgres;
    "an error that should commit becomes the COMMIT's own when that fails, and names the first";
    async fn<B>(bed) {
        let failed = breaks_at_commit(bed).await;
        let Err(Refusal::Transaction(error @ Error::Commit { .. })) = failed else {
            panic!("{failed:?}");
        };
        assert!(error.to_string().contains("benign: known already"), "{error}");
        assert_eq!(error.outcome(), Outcome::RolledBack);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    r_05_lost on postgres, mysql;
    "an error that should commit is not told alone when the connection is lost there";
    async fn<B>(bed, proxy) {
        let trap = proxy.cut_before("COMMIT");
        let failed = lenient(bed, 1, Err::<(), _>(Refusal::benign())).await;
        assert!(trap.has_sprung());
        let Err(Refusal::Transaction(error)) = failed else { panic!("{failed:?}") };
        let outcome = match &error {
            Error::Commit { .. } if B::TELLS_FATES => Outcome::RolledBack,
            Error::CommitUnknown { .. } if !B::TELLS_FATES => Outcome::Unknown,
            other => panic!("{other:?}"),
        };
        assert!(error.to_string().contains("benign: known already"), "{error}");
        assert_eq!(error.outcome(), outcome);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    r_11 on sqlite, postgres, mysql;
    "an error the inner function commits for does not doom; the outer's own rule decides";
    async fn<B>(bed) {
        let failed = bed.db.transaction(async || {
            bed.insert(1).await?;
            lenient(bed, 2, Err::<(), _>(Refusal::benign())).await
        });
        assert!(failed.await.unwrap_err().is_benign());
        assert!(bed.rows().await.is_empty());

        bed.db.transaction(async || {
            bed.insert(1).await?;
            let kept = lenient(bed, 2, Err::<(), _>(Refusal::benign())).await;
            assert!(kept.unwrap_err().is_benign());
            assert!(!bed.db.is_rollback_only());
            Ok::<_, Refusal>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

#[transactional(db = bed.db, propagation = Nested, no_rollback_for = Refusal::Benign(_))]
async fn lenient_nested<B: Backend>(
    bed: &Bed<B>,
    id: i64,
    refusal: Refusal,
) -> Result<(), Refusal> {
    bed.insert(id).await?;
    Err(refusal)
}

case! {
    r_13 on sqlite, postgres, mysql;
    "a Nested scope keeps its work for an error under no_rollback_for, which is returned";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let kept = lenient_nested(bed, 2, Refusal::benign()).await;
            assert!(kept.unwrap_err().is_benign());
            let failed = lenient_nested(bed, 3, Refusal::fatal()).await;
            assert!(failed.unwrap_err().is_fatal());
            assert_eq!(bed.visible().await?, [1, 2]);
            Ok::<_, Refusal>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    r_13_wire on postgres, mysql;
    "a Nested scope is released for an error under no_rollback_for";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            assert!(lenient_nested(bed, 2, Refusal::benign()).await.is_err());
            Ok::<_, Refusal>(())
        }).await.unwrap();
        let expected = [(0, "BEGIN"), (0, "SAVEPOINT"), (0, "RELEASE"), (0, "COMMIT")];
        assert_eq!(proxy.events(), expected);
    }
}

#[transactional(db = bed.db, name = "outer", no_rollback_for = Refusal::Benign(_))]
async fn lenient_around_strict<B: Backend>(bed: &Bed<B>) -> Result<(), Refusal> {
    bed.insert(1).await?;
    strict(bed, 2, Err(Refusal::benign())).await
}

case! {
    r_14 on sqlite, postgres, mysql;
    "the outer's rule cannot commit for an error that has doomed the inner function";
    async fn<B>(bed) {
        let doomed = lenient_around_strict(bed).await;
        // A bare Benign would claim that the work is stored.
        let Err(Refusal::Transaction(error)) = doomed else {
            panic!("{doomed:?}");
        };
        let Error::UnexpectedRollback { function, by, cause, meant } = &error else {
            panic!("{error:?}");
        };
        assert_eq!((function.name(), by.name()), ("outer", "strict"));
        assert_eq!(cause.to_string(), "benign: known already");
        assert!(meant.contains("benign: known already"), "{meant}");
        assert!(bed.rows().await.is_empty());
    }
}

/// Inner blocks and closures that leave early; only the function's own result counts.
#[transactional(db = bed.db)]
async fn leaves_inner_blocks<B: Backend>(
    bed: &Bed<B>,
    id: i64,
    leave: bool,
) -> Result<i64, Refusal> {
    let question = async {
        if leave {
            Err(Refusal::fatal())?;
        }
        Ok::<_, Refusal>(())
    };
    assert_eq!(question.await.is_err(), leave);
    let number = async {
        if leave {
            return 5;
        }
        bed.rows().await;
        6
    };
    let number: i64 = number.await;
    let closure = |number: i64| {
        if leave {
            return Err(Refusal::fatal());
        }
        Ok(number)
    };
    assert_eq!(closure(number).is_err(), leave);
    let async_closure = async || {
        bed.insert(id).await?;
        if leave {
            return Err(Refusal::fatal());
        }
        Ok(())
    };
    assert_eq!(async_closure().await.is_err(), leave);
    bed.insert(id + 1).await?;
    Ok(number)
}

/// `return` in the function itself, from inside a loop.
#[transactional(db = bed.db)]
async fn returns_early<B: Backend>(bed: &Bed<B>, fails: bool) -> Result<i64, Refusal> {
    for id in 10.. {
        bed.insert(id).await?;
        if id == 11 {
            if fails {
                return Err(Refusal::fatal());
            }
            return Ok(id);
        }
    }
    Err(Refusal::fatal())
}

case! {
    r_21 on sqlite, postgres, mysql;
    "`?` and `return` of inner blocks stay inside them, and those of the function end it";
    async fn<B>(bed) {
        assert_eq!(leaves_inner_blocks(bed, 1, true).await.unwrap(), 5);
        assert_eq!(bed.rows().await, [1, 2]);
        assert_eq!(leaves_inner_blocks(bed, 3, false).await.unwrap(), 6);
        assert_eq!(bed.rows().await, [1, 2, 3, 4]);
        assert!(returns_early(bed, true).await.unwrap_err().is_fatal());
        assert_eq!(bed.rows().await, [1, 2, 3, 4]);
        assert_eq!(returns_early(bed, false).await.unwrap(), 11);
        assert_eq!(bed.rows().await, [1, 2, 3, 4, 10, 11]);
    }
}

case! {
    r_23 on postgres, mysql;
    "the function's own error stays when the ROLLBACK after it fails";
    async fn<B>(bed, proxy) {
        let trap = proxy.cut_before("ROLLBACK");
        let mut lost = 0;
        let failed = bed.db.transaction(async || {
            bed.insert(1).await?;
            lost = bed.pid().await?;
            Err::<(), _>(Refusal::fatal())
        });
        let failed = failed.await.unwrap_err();
        assert!(trap.has_sprung());
        assert!(failed.is_fatal(), "{failed:?}");
        assert!(bed.rows().await.is_empty());
        bed.db.transaction(async || {
            assert_ne!(bed.pid().await?, lost, "the dead connection is not used again");
            Ok::<_, Refusal>(bed.insert(2).await?)
        }).await.unwrap();
        assert_eq!(bed.rows().await, [2]);
    }
}

case! {
    r_23_nested on postgres, mysql;
    "a Nested function's error stays when its ROLLBACK TO fails, and the owner cannot commit";
    async fn<B>(bed, proxy) {
        let trap = proxy.cut_before("ROLLBACK TO");
        let doomed = bed.db.transaction(async || {
            bed.insert(1).await?;
            let nested = TransactionOptions::new().propagation(Propagation::Nested);
            let failed = bed.db.transaction_with(nested, async || {
                bed.insert(2).await?;
                Err::<(), _>(Refusal::fatal())
            });
            assert!(failed.await.unwrap_err().is_fatal());
            assert!(bed.db.is_rollback_only());
            Ok::<_, Refusal>(())
        });
        let doomed = doomed.await;
        assert!(trap.has_sprung());
        let Err(Refusal::Transaction(Error::UnexpectedRollback { cause, .. })) = doomed else {
            panic!("{doomed:?}");
        };
        assert_eq!(cause.kind(), CauseKind::TransactionGone);
        assert!(bed.rows().await.is_empty());
    }
}
