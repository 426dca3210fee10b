//! H-44: hooks that wait for every open transaction of the chain.

use std::sync::{Arc, Mutex};

use tx_runtime::{
    Completion, Error, HookKind, Propagation, TransactionOptions, after_all_commits, hook_failures,
};
use tx_tests::{Bed, case};

fn mode(propagation: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(propagation)
}

/// How often hooks have run.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<usize>>);

impl Runs {
    fn register(&self) -> Result<(), Error> {
        let runs = self.clone();
        after_all_commits(async move || *runs.0.lock().unwrap() += 1)
    }

    fn count(&self) -> usize {
        *self.0.lock().unwrap()
    }
}

fn fail_if(fails: bool) -> Result<(), Error> {
    if fails {
        Err(Error::OutsideScope)
    } else {
        Ok(())
    }
}

case! {
    h_44 on sqlite, postgres, mysql;
    "a hook for all commits waits for the last open transaction, and is dropped with any of them";
    async fn<B>(bed) {
        // On SQLite an outer that has written could not be suspended; another Db can.
        let other = Bed::<B>::new().await.expect("the server is there");
        for (written, inner_fails, outer_fails) in [
            (false, false, false),
            (true, false, false),
            (true, true, false),
            (true, false, true),
        ] {
            let runs = Runs::default();
            let outer = bed.db.transaction(async || {
                if written {
                    bed.insert(1).await?;
                }
                let inner = other.db.transaction(async || {
                    if written {
                        other.insert(2).await?;
                    }
                    runs.register()?;
                    fail_if(inner_fails)
                });
                assert_eq!(inner.await.is_err(), inner_fails);
                assert_eq!(runs.count(), 0, "the outer may still fail");
                fail_if(outer_fails)
            });
            assert_eq!(outer.await.is_err(), outer_fails);
            assert_eq!(runs.count(), usize::from(!inner_fails && !outer_fails));
            bed.control("delete from t").await;
            other.control("delete from t").await;
        }
        other.finish().await;
    }
}

case! {
    h_44_requires_new on postgres, mysql;
    "suspended transactions of the same Db count as well";
    async fn<B>(bed) {
        for outer_fails in [false, true] {
            let runs = Runs::default();
            let outer = bed.db.transaction(async || {
                bed.insert(1).await?;
                bed.db.transaction_with(mode(Propagation::RequiresNew), async || {
                    bed.insert(2).await?;
                    runs.register()
                }).await?;
                assert_eq!(bed.rows().await, [2]);
                assert_eq!(runs.count(), 0);
                fail_if(outer_fails)
            });
            assert_eq!(outer.await.is_err(), outer_fails);
            assert_eq!(runs.count(), usize::from(!outer_fails));
            bed.control("delete from t").await;
        }
    }
}

case! {
    h_44_alone on sqlite, postgres, mysql;
    "with one transaction it is after_commit; a savepoint takes it along, and without one it is refused";
    async fn<B>(bed) {
        let runs = Runs::default();
        let refused = runs.register();
        assert!(matches!(refused, Err(Error::NoTransaction { function }) if function.file().ends_with("after_all.rs")), "{refused:?}");
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let undone = bed.db.transaction_with(mode(Propagation::Nested), async || {
                runs.register()?;
                fail_if(true)
            });
            undone.await.unwrap_err();
            bed.db.transaction_with(mode(Propagation::Nested), async || runs.register()).await
        }).await.unwrap();
        assert_eq!(runs.count(), 1);
        // A hook is in no transaction, whatever is suspended around it.
        let (ended, failures) = hook_failures(async || {
            bed.db.transaction(async || bed.db.after_commit(async || {
                after_all_commits(async || ())
            })).await
        }).await;
        ended.unwrap();
        let [failure] = failures.as_slice() else { panic!("{failures:?}") };
        assert!(failure.to_string().contains("needs a transaction"), "{failure}");
    }
}

case! {
    h_44_fails on sqlite, postgres, mysql;
    "its failure is told once, to those around the transaction that ended last";
    async fn<B>(bed) {
        let other = Bed::<B>::new().await.expect("the server is there");
        let (ended, failures) = hook_failures(async || {
            bed.db.transaction(async || {
                let (inner, failures) = hook_failures(async || {
                    other.db.transaction(async || after_all_commits(async || Err::<(), _>("out of paper"))).await
                }).await;
                assert!(failures.is_empty(), "{failures:?}");
                inner
            }).await
        }).await;
        ended.unwrap();
        let [failure] = failures.as_slice() else { panic!("{failures:?}") };
        assert_eq!(failure.kind(), HookKind::AfterCommit);
        assert_eq!(failure.completion(), Some(Completion::Committed));
        other.finish().await;
    }
}
