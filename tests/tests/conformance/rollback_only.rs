//! Group O: transactions that can only roll back, and who is told why.

use std::error::Error as _;
use std::fmt;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::task::Poll;

use futures_util::FutureExt as _;
use tx_runtime::{CauseKind, Error, Outcome, Propagation, TransactionOptions, transactional};
use tx_tests::{Backend, Bed, case, pending_once, poll_n};

/// The body's own errors, told apart from the runtime's.
#[derive(Debug)]
enum Refusal {
    Benign(i64),
    Transaction(Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Benign(id) => write!(f, "benign: {id}"),
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

/// The code of a duplicate key.
fn duplicate<B: Backend>() -> &'static str {
    match B::LABEL {
        "postgres" => "23505",
        "mysql" => "23000",
        _ => "1555",
    }
}

fn mode(propagation: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(propagation)
}

/// A participant that regrets what it did, but does not fail.
#[transactional(db = bed.db, name = "regretful")]
async fn regretful<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), Error> {
    bed.insert(id).await?;
    bed.db.set_rollback_only("regretted")
}

/// A participant that swallows a duplicate key.
#[transactional(db = bed.db, name = "careless")]
async fn careless<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), Error> {
    bed.insert(id).await?;
    assert!(bed.insert(id).await.is_err());
    Ok(())
}

/// Checks that `function` was told of the duplicate key in `by`.
fn assert_told_of_duplicate<B: Backend>(
    told: &Result<impl fmt::Debug, Error>,
    function: &str,
    by: &str,
) {
    let Err(
        error @ Error::UnexpectedRollback {
            function: of,
            by: from,
            cause,
            ..
        },
    ) = told
    else {
        panic!("{told:?}");
    };
    assert_eq!((of.name(), from.name()), (function, by));
    assert_eq!(cause.kind(), CauseKind::Statement);
    assert_eq!(cause.code(), Some(duplicate::<B>()));
    assert_eq!(error.outcome(), Outcome::RolledBack);
}

case! {
    o_01 on sqlite, postgres, mysql;
    "an owner that asked for the rollback gets RolledBack with its reason instead of Ok";
    async fn<B>(bed) {
        let asked = regretful(bed, 1).await;
        let Err(error @ Error::RolledBack { function, reason, .. }) = &asked else {
            panic!("{asked:?}");
        };
        assert_eq!((function.name(), reason.as_str()), ("regretful", "regretted"));
        assert_eq!(error.outcome(), Outcome::RolledBack);
        assert!(!error.is_retryable());
        assert!(bed.rows().await.is_empty());

        // Also where nothing has run, and with a value that would be lost silently.
        let asked = bed.db.transaction(async || {
            bed.db.set_rollback_only("first")?;
            bed.db.set_rollback_only("second")?;
            Ok::<_, Error>(7)
        });
        let asked = asked.await;
        assert!(
            matches!(&asked, Err(Error::RolledBack { reason, .. }) if reason == "first"),
            "{asked:?}"
        );
    }
}

case! {
    o_01_wire on postgres, mysql;
    "an owner that asked for the rollback sends ROLLBACK and no COMMIT";
    async fn<B>(bed, proxy) {
        regretful(bed, 1).await.unwrap_err();
        assert_eq!(proxy.events(), [(0, "BEGIN"), (0, "ROLLBACK")]);
    }
}

case! {
    o_02 on sqlite, postgres, mysql;
    "a participant's rollback-only reaches the owner as UnexpectedRollback with setter and reason";
    async fn<B>(bed) {
        let outer = TransactionOptions::new().name("outer");
        let told = bed.db.transaction_with(outer, async || {
            bed.insert(1).await?;
            regretful(bed, 2).await?;
            Ok::<_, Error>(())
        });
        let told = told.await;
        let Err(error @ Error::UnexpectedRollback { function, by, cause, .. }) = &told else {
            panic!("{told:?}");
        };
        assert_eq!((function.name(), by.name()), ("outer", "regretful"));
        assert!(by.file().ends_with("rollback_only.rs"), "{by}");
        assert_eq!(cause.kind(), CauseKind::RollbackOnly);
        assert_eq!(cause.to_string(), "regretted");
        assert!(error.to_string().contains("regretted"), "{error}");
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    o_03 on sqlite, postgres, mysql;
    "the owner sees at once that a participant asked for the rollback";
    async fn<B>(bed) {
        assert!(!bed.db.is_rollback_only());
        let told = bed.db.transaction(async || {
            assert!(!bed.db.is_rollback_only());
            bed.insert(1).await?;
            assert!(!bed.db.is_rollback_only());
            regretful(bed, 2).await?;
            assert!(bed.db.is_rollback_only());
            assert!(bed.db.is_in_transaction());
            Ok::<_, Error>(())
        });
        told.await.unwrap_err();
        assert!(!bed.db.is_rollback_only());
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    o_04 on sqlite, postgres, mysql;
    "rollback-only set in a Nested scope ends that scope alone";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let nested = bed.db.savepoint(async || {
                bed.insert(2).await?;
                bed.db.set_rollback_only("not this part")
            });
            let nested = nested.await;
            let Err(Error::RolledBack { reason, .. }) = &nested else { panic!("{nested:?}") };
            assert_eq!(reason, "not this part");
            assert!(!bed.db.is_rollback_only());
            bed.insert(3).await?;
            // Set by a participant of the savepoint, it is the savepoint's owner that is told.
            let nested = bed.db.savepoint(async || regretful(bed, 4).await).await;
            assert!(matches!(nested, Err(Error::UnexpectedRollback { .. })), "{nested:?}");
            assert!(!bed.db.is_rollback_only());
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 3]);
    }
}

case! {
    o_04_doomed on sqlite, postgres, mysql;
    "a Nested scope that set rollback-only refuses what follows in it";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let nested = bed.db.savepoint(async || {
                bed.db.set_rollback_only("nothing here")?;
                bed.insert(2).await?;
                Ok::<_, Error>(())
            });
            let nested = nested.await;
            assert!(matches!(nested, Err(Error::Doomed { .. })), "{nested:?}");
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

#[transactional(db = bed.db, propagation = RequiresNew, name = "alone")]
async fn regretful_alone<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), Error> {
    bed.insert(id).await?;
    bed.db.set_rollback_only("only mine")
}

async fn outlives_a_regretful_new<B: Backend>(bed: &Bed<B>, begun: bool) {
    let options = TransactionOptions::new().name("outer");
    let outer = bed.db.transaction_with(options, async || {
        if begun {
            bed.insert(1).await?;
        }
        let alone = regretful_alone(bed, 2).await;
        assert!(matches!(&alone, Err(Error::RolledBack { .. })), "{alone:?}");
        assert!(!bed.db.is_rollback_only());
        bed.insert(3).await?;
        Ok::<_, Error>(())
    });
    outer.await.unwrap();
}

case! {
    // SQLite has one writer: there the outer has not begun yet.
    o_05 on sqlite, postgres, mysql;
    "rollback-only set in RequiresNew leaves the outer transaction alone";
    async fn<B>(bed) {
        outlives_a_regretful_new(bed, B::SERVER).await;
        let expected: &[i64] = if B::SERVER { &[1, 3] } else { &[3] };
        assert_eq!(bed.rows().await, expected);
    }
}

case! {
    o_08 on postgres, mysql;
    "RequiresNew inside a doomed transaction runs and commits";
    async fn<B>(bed) {
        let told = bed.db.transaction(async || {
            bed.insert(1).await?;
            assert!(bed.insert(1).await.is_err());
            assert!(bed.db.is_rollback_only());
            bed.db.transaction_with(mode(Propagation::RequiresNew), async || {
                assert!(!bed.db.is_rollback_only());
                bed.insert(2).await?;
                Ok::<_, Error>(())
            }).await?;
            assert_eq!(bed.rows().await, [2]);
            assert!(bed.db.is_rollback_only());
            Ok::<_, Error>(())
        });
        told.await.unwrap_err();
        assert_eq!(bed.rows().await, [2]);
    }
}

case! {
    // Once the transaction has begun, SQLite's one writer is taken: see p_05_sqlite.
    o_08_sqlite on sqlite;
    "RequiresNew inside a transaction that is doomed before its first statement commits";
    async fn<B>(bed) {
        let told = bed.db.transaction(async || {
            bed.db.set_rollback_only("nothing of mine")?;
            bed.db.transaction_with(mode(Propagation::RequiresNew), async || {
                bed.insert(2).await?;
                Ok::<_, Error>(())
            }).await
        });
        let told = told.await;
        assert!(matches!(told, Err(Error::RolledBack { .. })), "{told:?}");
        assert_eq!(bed.rows().await, [2]);
    }
}

case! {
    o_10 on sqlite, postgres, mysql;
    "no scope joins a doomed transaction or nests in it: the body is not run";
    async fn<B>(bed) {
        let told = bed.db.transaction(async || {
            careless(bed, 1).await?;
            for joining in [
                Propagation::Required,
                Propagation::Supports,
                Propagation::Mandatory,
                Propagation::Nested,
            ] {
                let mut entered = false;
                let options = mode(joining).name("joining");
                let refused = bed.db.transaction_with(options, async || {
                    entered = true;
                    Ok::<_, Error>(())
                });
                let refused = refused.await;
                let Err(Error::Doomed { function, by, cause }) = &refused else {
                    panic!("{joining}: {refused:?}");
                };
                assert_eq!((function.name(), by.name()), ("joining", "careless"));
                assert_eq!(cause.code(), Some(duplicate::<B>()));
                assert!(!entered, "{joining}");
            }
            let refused = bed.db.begin().await.map(drop);
            assert!(matches!(refused, Err(Error::Doomed { .. })), "{refused:?}");
            // A Never scope is refused for the transaction, which is still there.
            let refused = bed.db.transaction_with(mode(Propagation::Never), async || {
                Ok::<_, Error>(())
            });
            let refused = refused.await;
            assert!(matches!(refused, Err(Error::TransactionActive { .. })), "{refused:?}");
            Ok::<_, Error>(())
        });
        told.await.unwrap_err();
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    o_10_suspended on sqlite, postgres, mysql;
    "a NotSupported scope inside a doomed transaction runs, since it is in none";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (9)").await;
        let outer = TransactionOptions::new().name("outer");
        let told = bed.db.transaction_with(outer, async || {
            careless(bed, 1).await?;
            bed.db.transaction_with(mode(Propagation::NotSupported), async || {
                assert!(!bed.db.is_rollback_only());
                assert_eq!(bed.visible().await?, [9]);
                Ok::<_, Error>(())
            }).await
        });
        assert_told_of_duplicate::<B>(&told.await, "outer", "careless");
        assert_eq!(bed.rows().await, [9]);
    }
}

case! {
    o_11 on sqlite, postgres, mysql;
    "a statement in a doomed transaction is refused with the cause that doomed it";
    async fn<B>(bed) {
        let told = bed.db.transaction(async || {
            careless(bed, 1).await?;
            for refused in [
                bed.insert(2).await.map_err(Error::from),
                bed.visible().await.map(drop).map_err(Error::from),
                B::raw(&bed.db, "select 1").await.map(drop).map_err(Error::from),
            ] {
                let Err(Error::Doomed { by, cause, .. }) = &refused else {
                    panic!("{refused:?}");
                };
                assert_eq!(by.name(), "careless");
                assert_eq!(cause.code(), Some(duplicate::<B>()));
            }
            Ok::<_, Error>(())
        });
        told.await.unwrap_err();
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    o_11_wire on postgres, mysql;
    "nothing but ROLLBACK is sent for a doomed transaction";
    async fn<B>(bed, proxy) {
        let told = bed.db.transaction(async || {
            careless(bed, 1).await?;
            let (sent, round_trips) = (proxy.log(), proxy.round_trips());
            assert!(bed.insert(2).await.is_err());
            assert!(bed.visible().await.is_err());
            assert!(regretful(bed, 3).await.is_err());
            assert!(bed.db.savepoint(async || Ok::<_, Error>(())).await.is_err());
            assert_eq!((proxy.log(), proxy.round_trips()), (sent, round_trips));
            Ok::<_, Error>(())
        });
        told.await.unwrap_err();
        assert_eq!(proxy.events(), [(0, "BEGIN"), (0, "ROLLBACK")]);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    o_12 on sqlite, postgres, mysql;
    "after the savepoint that a failed statement doomed is rolled back, statements run again";
    async fn<B>(bed) {
        let mut tx = bed.db.begin().await.unwrap();
        B::exec(&tx, "insert into t (id) values (1)").await.unwrap();
        let inner = tx.begin().await.unwrap();
        B::exec(&inner, "insert into t (id) values (2)").await.unwrap();
        B::exec(&inner, "insert into t (id) values (2)").await.unwrap_err();
        let refused = B::exec(&inner, "insert into t (id) values (3)").await.map_err(Error::from);
        assert!(matches!(refused, Err(Error::Doomed { .. })), "{refused:?}");
        inner.rollback().await.unwrap();
        B::exec(&tx, "insert into t (id) values (4)").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(bed.rows().await, [1, 4]);
    }
}

case! {
    o_13 on sqlite, postgres, mysql;
    "a failed statement that the body swallowed is never an Ok, on any database";
    async fn<B>(bed) {
        // Plain sqlx: Ok on all three, with the row on two of them and without it on one.
        let mut evil = bed.db.pool().begin().await.unwrap();
        B::exec(B::on(&mut evil), "insert into t (id) values (1)").await.unwrap();
        B::exec(B::on(&mut evil), "insert into t (id) values (1)").await.unwrap_err();
        evil.commit().await.unwrap();
        assert_eq!(bed.rows().await.len(), usize::from(B::LABEL != "postgres"));
        bed.control("delete from t").await;

        let told = careless(bed, 1).await;
        assert_told_of_duplicate::<B>(&told, "careless", "careless");
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    o_13_tolerant on sqlite, mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.tolerate_failed_statements(true));
    "with the switch for it, a swallowed failed statement does not doom its scope";
    async fn<B>(bed) {
        careless(bed, 1).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    o_13_tolerant_postgres on postgres;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.tolerate_failed_statements(true));
    "PostgreSQL cannot tolerate a failed statement, whatever the switch says";
    async fn<B>(bed) {
        assert_told_of_duplicate::<B>(&careless(bed, 1).await, "careless", "careless");
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    o_15 on sqlite, postgres, mysql;
    "a duplicate key in a Nested scope, caught, leaves the outer usable, and it commits";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            // Passed on by the Nested scope, and swallowed inside of it.
            let passed_on = bed.db.savepoint(async || Ok::<_, Error>(bed.insert(1).await?)).await;
            assert!(matches!(passed_on, Err(Error::Database(_))), "{passed_on:?}");
            let swallowed = bed.db.savepoint(async || careless(bed, 2).await).await;
            assert!(matches!(swallowed, Err(Error::UnexpectedRollback { .. })), "{swallowed:?}");
            assert!(!bed.db.is_rollback_only());
            bed.insert(3).await?;
            assert_eq!(bed.visible().await?, [1, 3]);
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 3]);
    }
}

#[transactional(db = bed.db, name = "fails")]
async fn fails<B: Backend>(bed: &Bed<B>) -> Result<(), Refusal> {
    bed.insert(2).await?;
    Err(Refusal::Benign(2))
}

#[transactional(db = bed.db, name = "outer")]
async fn swallows_two_failures<B: Backend>(bed: &Bed<B>) -> Result<(), Refusal> {
    bed.insert(1).await?;
    assert!(matches!(fails(bed).await, Err(Refusal::Benign(2))));
    // Consequences of the first failure, and one more of its own.
    assert!(fails(bed).await.is_err());
    assert!(bed.insert(1).await.is_err());
    bed.db.set_rollback_only("a later reason")?;
    Ok(())
}

case! {
    // That later causes are counted, as the catalogue has it, is no part of this version.
    o_16 on sqlite, postgres, mysql;
    "UnexpectedRollback has the first cause as its source and names both functions";
    async fn<B>(bed) {
        let told = swallows_two_failures(bed).await;
        let Err(Refusal::Transaction(error @ Error::UnexpectedRollback { .. })) = &told else {
            panic!("{told:?}");
        };
        let source = error.source().expect("a source");
        assert_eq!(source.to_string(), "benign: 2");
        let text = error.to_string();
        for part in ["`outer`", "`fails`", "benign: 2", "returned Ok"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("a later reason"), "{text}");
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    o_17 on sqlite, postgres, mysql;
    "rollback-only outside a transaction is an error";
    async fn<B>(bed) {
        let is_refused = || {
            let refused = bed.db.set_rollback_only("nothing to roll back");
            assert!(matches!(refused, Err(Error::NoTransaction { .. })), "{refused:?}");
            assert!(!bed.db.is_rollback_only());
        };
        is_refused();
        for without in [Propagation::Supports, Propagation::Never] {
            bed.db.transaction_with(mode(without), async || {
                is_refused();
                Ok::<_, Error>(())
            }).await.unwrap();
        }
        // A suspended transaction is not the one that is meant.
        bed.db.transaction(async || {
            bed.db.transaction_with(mode(Propagation::NotSupported), async || {
                is_refused();
                Ok::<_, Error>(())
            }).await?;
            bed.insert(1).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    o_17_spawned on sqlite, postgres, mysql;
    "a spawned task cannot set its parent's transaction to roll back";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let db = bed.db.clone();
            let refused = tokio::spawn(async move { db.set_rollback_only("not mine") });
            let refused = refused.await.unwrap();
            assert!(matches!(refused, Err(Error::NoTransaction { .. })), "{refused:?}");
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    o_18 on sqlite, postgres, mysql;
    "rollback-only set after the transaction has ended is an error";
    async fn<B>(bed) {
        // A participant that is begun inside and goes on after the owner has ended.
        let mut outliving = Box::pin(bed.db.transaction(async || {
            pending_once().await;
            let refused = bed.db.set_rollback_only("too late");
            assert!(matches!(refused, Err(Error::TransactionClosed { .. })), "{refused:?}");
            Ok::<_, Error>(())
        }));
        let owner = bed.db.transaction(async || {
            bed.insert(1).await?;
            let begun = poll_fn(|cx| Poll::Ready(outliving.as_mut().poll(cx).is_pending())).await;
            assert!(begun);
            Ok::<_, Error>(())
        });
        // What it means for the owner is u_12's question, not this one's.
        drop(owner.await);
        drop(outliving.await);
    }
}

#[transactional(db = bed.db, name = "outer")]
async fn fails_when_doomed<B: Backend>(bed: &Bed<B>) -> Result<(), Refusal> {
    bed.insert(1).await?;
    regretful(bed, 2).await?;
    Err(Refusal::Benign(1))
}

case! {
    o_20 on sqlite, postgres, mysql;
    "an owner of a doomed transaction that fails gets its own error back";
    async fn<B>(bed) {
        let failed = fails_when_doomed(bed).await;
        assert!(matches!(failed, Err(Refusal::Benign(1))), "{failed:?}");
        assert!(bed.rows().await.is_empty());
    }
}

#[transactional(db = bed.db, name = "outer", no_rollback_for = Refusal::Benign(_))]
async fn keeps_when_doomed<B: Backend>(bed: &Bed<B>, by_itself: bool) -> Result<(), Refusal> {
    bed.insert(1).await?;
    if by_itself {
        bed.db.set_rollback_only("regretted")?;
    } else {
        regretful(bed, 2).await?;
    }
    Err(Refusal::Benign(1))
}

/// What became of an error that should have committed in a doomed transaction.
async fn assert_carries_kept_error<B: Backend>(bed: &Bed<B>, by_itself: bool) {
    let told = keeps_when_doomed(bed, by_itself).await;
    assert!(bed.rows().await.is_empty());
    // The bare error would claim that the work is stored.
    let Err(Refusal::Transaction(error)) = &told else {
        panic!("{told:?}");
    };
    assert_eq!(error.outcome(), Outcome::RolledBack);
    let text = error.to_string();
    for part in ["rolled back", "regretted", "benign: 1"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

case! {
    o_22 on sqlite, postgres, mysql;
    "an error that should commit says that a participant's rollback-only prevented it";
    async fn<B>(bed) {
        assert_carries_kept_error(bed, false).await;
    }
}

case! {
    o_22_own on sqlite, postgres, mysql;
    "an error that should commit is not lost when the owner itself set rollback-only";
    async fn<B>(bed) {
        assert_carries_kept_error(bed, true).await;
    }
}

#[transactional(db = bed.db, name = "panics")]
async fn panics<B: Backend>(bed: &Bed<B>) -> Result<(), Error> {
    bed.insert(2).await?;
    panic!("on purpose")
}

case! {
    o_23 on sqlite, postgres, mysql;
    "a participant's panic that is caught dooms the owner, which is told who panicked";
    async fn<B>(bed) {
        let outer = TransactionOptions::new().name("outer");
        let told = bed.db.transaction_with(outer, async || {
            bed.insert(1).await?;
            assert!(AssertUnwindSafe(panics(bed)).catch_unwind().await.is_err());
            assert!(bed.db.is_rollback_only());
            assert!(bed.insert(3).await.is_err());
            Ok::<_, Error>(())
        });
        let told = told.await;
        let Err(Error::UnexpectedRollback { function, by, cause, .. }) = &told else {
            panic!("{told:?}");
        };
        assert_eq!((function.name(), by.name()), ("outer", "panics"));
        assert_eq!(cause.kind(), CauseKind::Panicked);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    o_23_nested on sqlite, postgres, mysql;
    "a panic caught outside a Nested scope is undone there, and the owner commits";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let nested = bed.db.savepoint(async || panics(bed).await);
            assert!(AssertUnwindSafe(nested).catch_unwind().await.is_err());
            assert!(!bed.db.is_rollback_only());
            assert_eq!(bed.visible().await?, [1]);
            bed.insert(3).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 3]);
    }
}

#[transactional(db = bed.db, name = "participant")]
async fn participant<B: Backend>(bed: &Bed<B>) -> Result<(), Error> {
    bed.insert(2).await?;
    pending_once().await;
    bed.insert(3).await?;
    Ok(())
}

case! {
    o_24 on sqlite, postgres, mysql;
    "a participant dropped at any await point dooms the owner; one that finished does not";
    async fn<B>(bed) {
        // How often a call is pending depends on how fast the answers come.
        let (mut half_way, mut finishes) = (0, 0);
        for polls in 1.. {
            let options = TransactionOptions::new().name("outer");
            let mut finished = false;
            let told = bed.db.transaction_with(options, async || {
                bed.insert(1).await?;
                finished = poll_n(participant(bed), polls).await.0.is_some();
                assert_eq!(bed.db.is_rollback_only(), !finished, "{polls} polls");
                Ok::<_, Error>(())
            });
            let told = told.await;
            if finished {
                told.unwrap();
                assert_eq!(bed.rows().await, [1, 2, 3]);
                bed.control("delete from t").await;
                finishes += 1;
                if finishes == 3 {
                    break;
                }
                continue;
            }
            half_way += 1;
            let Err(Error::UnexpectedRollback { function, by, cause, .. }) = &told else {
                panic!("{polls} polls: {told:?}");
            };
            assert_eq!((function.name(), by.name()), ("outer", "participant"));
            assert_eq!(cause.kind(), CauseKind::Dropped);
            assert!(bed.rows().await.is_empty(), "{polls} polls");
            bed.clean().await.unwrap();
        }
        assert!(half_way >= 1);
    }
}

case! {
    o_24_select on sqlite, postgres, mysql;
    "the loser of a select!, dropped after it wrote, dooms the owner";
    async fn<B>(bed) {
        let told = bed.db.transaction(async || {
            bed.insert(1).await?;
            let (written, wrote) = tokio::sync::oneshot::channel();
            let loser = bed.db.transaction(async || {
                bed.insert(2).await?;
                written.send(()).expect("the other branch waits");
                std::future::pending::<()>().await;
                Ok::<_, Error>(())
            });
            tokio::select! {
                never = loser => panic!("{never:?}"),
                wrote = wrote => wrote.unwrap(),
            }
            assert!(bed.db.is_rollback_only());
            Ok::<_, Error>(())
        });
        let told = told.await;
        let Err(Error::UnexpectedRollback { cause, .. }) = &told else { panic!("{told:?}") };
        assert_eq!(cause.kind(), CauseKind::Dropped);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    o_06 on sqlite, postgres, mysql; bed = Bed::<B>::build(|pool| pool, |builder| builder.fail_early(true));
    "with fail_early, a function that has joined is told at its own end that nothing can commit";
    async fn<B>(bed) {
        let outer = TransactionOptions::new().name("outer");
        let told = bed.db.transaction_with(outer, async || {
            bed.insert(1).await?;
            let early = regretful(bed, 2).await;
            let Err(Error::Doomed { function, by, cause }) = &early else { panic!("{early:?}") };
            assert_eq!((function.name(), by.name()), ("regretful", "regretful"));
            assert_eq!(cause.kind(), CauseKind::RollbackOnly);
            Ok::<_, Error>(())
        });
        assert!(matches!(told.await, Err(Error::UnexpectedRollback { .. })));
        assert!(bed.rows().await.is_empty());
        // One that can still commit has nothing to be told of.
        bed.db.transaction(async || bed.db.transaction(async || Ok(bed.insert(3).await?)).await)
            .await
            .unwrap_or_else(|error: Error| panic!("{error}"));
        assert_eq!(bed.rows().await, [3]);
    }
}
