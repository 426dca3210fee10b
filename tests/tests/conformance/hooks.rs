//! Group H: what runs before a commit and after the end, in which order, and what its failure
//! means.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tx_runtime::{
    Completion, Error, HookFailure, HookKind, Isolation, Outcome, Propagation, TransactionOptions,
    hook_failures,
};
use tx_tests::{Backend, Bed, Lay, Proxy, case, pending_once};

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Registers an `after_commit` hook that logs `name`.
fn logs<B: Backend>(bed: &Bed<B>, log: &Log, name: &str) -> Result<(), Error> {
    let (log, name) = (log.clone(), name.to_owned());
    bed.db.after_commit(async move || log.add(name))
}

/// Registers a hook of every kind, the later ones first.
fn logs_all<B: Backend>(bed: &Bed<B>, log: &Log, name: &str) -> Result<(), Error> {
    let told = |kind: &str| (log.clone(), format!("{kind} {name}"));
    let (log, what) = told("completion");
    bed.db
        .after_completion(async move |end| log.add(format!("{what} {end:?}")))?;
    let (log, what) = told("rollback");
    bed.db.after_rollback(async move || log.add(what))?;
    let (log, what) = told("commit");
    bed.db.after_commit(async move || log.add(what))?;
    let (log, what) = told("before");
    bed.db.before_commit(async move || log.add(what))
}

fn mode(propagation: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(propagation)
}

fn panics(message: &str) {
    panic!("{message}")
}

fn refused<T>() -> Result<T, Error> {
    Err(Error::Database(sqlx::Error::RowNotFound))
}

case! {
    h_01 on sqlite, postgres, mysql;
    "an after_commit hook sees the committed row, runs once, and before its function returns";
    async fn<B>(bed) {
        let log = Log::default();
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let (hook, told) = (Arc::clone(bed), log.clone());
            bed.db.after_commit(async move || {
                pending_once().await;
                told.add(format!("{:?}", hook.rows().await));
            })?;
            // H-02: not yet.
            assert!(log.take().is_empty());
            bed.insert(2).await?;
            assert!(log.take().is_empty());
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(log.take(), ["[1, 2]"]);
    }
}

case! {
    h_03 on sqlite, postgres, mysql;
    "after an error only the hooks for a rollback and for any end run";
    async fn<B>(bed) {
        let log = Log::default();
        let failed = bed.db.transaction(async || {
            bed.insert(1).await?;
            logs_all(bed, &log, "a")?;
            refused::<()>()
        });
        failed.await.unwrap_err();
        assert_eq!(log.take(), ["rollback a", "completion a RolledBack"]);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    h_03_panic on sqlite, postgres, mysql;
    "after a panic or a drop the same hooks run in the clean-up that drain waits for";
    async fn<B>(bed) {
        let log = Log::default();
        for written in [true, false] {
            let scope = bed.db.transaction(async || {
                if written {
                    bed.insert(1).await?;
                }
                logs_all(bed, &log, "a")?;
                panics("as it may");
                Ok::<(), Error>(())
            });
            AssertUnwindSafe(scope).catch_unwind().await.unwrap_err();
            bed.db.drain().await;
            assert_eq!(log.take(), ["rollback a", "completion a RolledBack"]);

            let (registered, has_registered) = oneshot::channel();
            let dropped = bed.db.transaction(async || {
                if written {
                    bed.insert(1).await?;
                }
                logs_all(bed, &log, "b")?;
                registered.send(()).ok();
                std::future::pending::<Result<(), Error>>().await
            });
            tokio::select! {
                biased;
                ended = dropped => panic!("{ended:?}"),
                _ = has_registered => {}
            }
            bed.db.drain().await;
            assert_eq!(log.take(), ["rollback b", "completion b RolledBack"]);
        }
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    h_04 on sqlite, postgres, mysql;
    "before_commit runs inside the transaction, the others after it, whatever was registered first";
    async fn<B>(bed) {
        let log = Log::default();
        bed.db.transaction(async || {
            bed.insert(1).await?;
            logs_all(bed, &log, "a")?;
            let (hook, told) = (Arc::clone(bed), log.clone());
            bed.db.before_commit(async move || {
                hook.insert(2).await?;
                let seen = (hook.visible().await?, hook.rows().await);
                told.add(format!("{seen:?}"));
                Ok::<_, sqlx::Error>(())
            })?;
            Ok::<_, Error>(())
        }).await.unwrap();
        let expected = ["before a", "([1, 2], [])", "commit a", "completion a Committed"];
        assert_eq!(log.take(), expected);
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    h_04_wire on postgres, mysql;
    "before_commit runs before COMMIT is sent, the others after its answer";
    async fn<B>(bed, proxy) {
        let trap = proxy.hold_after("COMMIT");
        let log = Log::default();
        let scope = bed.db.transaction(async || {
            bed.insert(1).await?;
            logs_all(bed, &log, "a")?;
            Ok::<_, Error>(())
        });
        let watch = async {
            trap.sprung().await;
            assert_eq!(log.take(), ["before a"]);
            trap.release();
        };
        let (ended, ()) = tokio::join!(scope, watch);
        ended.unwrap();
        assert_eq!(log.take(), ["commit a", "completion a Committed"]);
    }
}

case! {
    h_05_wire on postgres, mysql;
    "after_rollback runs after the answer to ROLLBACK";
    async fn<B>(bed, proxy) {
        let trap = proxy.hold_after("ROLLBACK");
        let log = Log::default();
        let scope = bed.db.transaction(async || {
            bed.insert(1).await?;
            logs_all(bed, &log, "a")?;
            refused::<()>()
        });
        let watch = async {
            trap.sprung().await;
            assert!(log.take().is_empty());
            trap.release();
        };
        let (ended, ()) = tokio::join!(scope, watch);
        ended.unwrap_err();
        assert_eq!(log.take(), ["rollback a", "completion a RolledBack"]);
    }
}

case! {
    h_06 on sqlite, postgres, mysql;
    "hooks run in the order of their registration, across functions and savepoints";
    async fn<B>(bed) {
        let log = Log::default();
        bed.db.transaction(async || {
            logs(bed, &log, "a")?;
            bed.insert(1).await?;
            bed.db.savepoint(async || {
                bed.insert(2).await?;
                logs(bed, &log, "b")
            }).await?;
            bed.db.transaction(async || logs(bed, &log, "c")).await?;
            logs(bed, &log, "d")
        }).await.unwrap();
        assert_eq!(log.take(), ["a", "b", "c", "d"]);
    }
}

case! {
    h_07 on sqlite, postgres, mysql;
    "an explicit order comes before the order of registration";
    async fn<B>(bed) {
        let log = Log::default();
        bed.db.transaction(async || {
            bed.insert(1).await?;
            for (name, order) in [("5", 5), ("0", 0), ("-1", -1), ("0 again", 0), ("5 again", 5)] {
                let told = log.clone();
                bed.db.hook_order(order).after_commit(async move || told.add(name))?;
                let told = log.clone();
                bed.db.hook_order(order).before_commit(async move || told.add(name))?;
            }
            Ok::<_, Error>(())
        }).await.unwrap();
        let once = ["-1", "0", "0 again", "5", "5 again"];
        assert_eq!(log.take(), [once, once].concat());
    }
}

case! {
    h_08 on sqlite, postgres, mysql;
    "a hook of a function that has joined runs once, at the outermost commit";
    async fn<B>(bed) {
        let log = Log::default();
        bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.transaction(async || {
                bed.insert(2).await?;
                logs_all(bed, &log, "inner")
            }).await?;
            // H-22: nothing is due at the end of a participant.
            assert!(log.take().is_empty());
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(log.take(), ["before inner", "commit inner", "completion inner Committed"]);
    }
}

case! {
    h_09 on sqlite, postgres, mysql;
    "a hook of a savepoint that succeeds runs at the outermost commit, or not at all";
    async fn<B>(bed) {
        let log = Log::default();
        for (commits, id) in [(true, 1), (false, 3)] {
            let scope = bed.db.transaction(async || {
                bed.insert(id).await?;
                bed.db.savepoint(async || {
                    bed.insert(id + 1).await?;
                    // One in a savepoint that no statement needs is none on the server.
                    bed.db.savepoint(async || logs_all(bed, &log, "empty")).await?;
                    logs_all(bed, &log, "inner")
                }).await?;
                assert!(log.take().is_empty());
                if commits { Ok(()) } else { refused() }
            });
            assert_eq!(scope.await.is_ok(), commits);
            let expected: &[&str] = if commits {
                &[
                    "before empty", "before inner", "commit empty", "commit inner",
                    "completion empty Committed", "completion inner Committed",
                ]
            } else {
                &[
                    "rollback empty", "rollback inner",
                    "completion empty RolledBack", "completion inner RolledBack",
                ]
            };
            assert_eq!(log.take(), expected);
        }
    }
}

case! {
    h_10 on sqlite, postgres, mysql;
    "hooks of a rolled-back savepoint, and of those inside it, are dropped with it";
    async fn<B>(bed) {
        let log = Log::default();
        bed.db.transaction(async || {
            logs(bed, &log, "1")?;
            bed.insert(1).await?;
            let nested = bed.db.savepoint(async || {
                bed.insert(2).await?;
                logs(bed, &log, "2")?;
                bed.db.savepoint(async || {
                    bed.insert(3).await?;
                    logs(bed, &log, "inside 2")
                }).await?;
                refused::<()>()
            });
            nested.await.unwrap_err();
            logs(bed, &log, "3")
        }).await.unwrap();
        assert_eq!(log.take(), ["1", "3"]);
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    h_10_dropped on sqlite, postgres, mysql;
    "hooks of a savepoint whose scope was dropped are those of a rollback";
    async fn<B>(bed) {
        let log = Log::default();
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let (registered, has_registered) = oneshot::channel();
            let nested = bed.db.savepoint(async || {
                bed.insert(2).await?;
                logs_all(bed, &log, "dropped")?;
                registered.send(()).ok();
                std::future::pending::<Result<(), Error>>().await
            });
            tokio::select! {
                biased;
                ended = nested => panic!("{ended:?}"),
                _ = has_registered => {}
            }
            logs(bed, &log, "outer")
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
        let mut told = log.take();
        told.sort();
        assert_eq!(told, ["completion dropped RolledBack", "outer", "rollback dropped"]);
    }
}

case! {
    h_12 on sqlite, postgres, mysql;
    "a failed savepoint takes nothing from one that succeeded before it";
    async fn<B>(bed) {
        let log = Log::default();
        bed.db.transaction(async || {
            bed.db.savepoint(async || {
                bed.insert(1).await?;
                logs(bed, &log, "1")
            }).await?;
            let second = bed.db.savepoint(async || {
                bed.insert(2).await?;
                logs(bed, &log, "2")?;
                refused::<()>()
            });
            second.await.unwrap_err();
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(log.take(), ["1"]);
    }
}

case! {
    h_13 on sqlite, postgres, mysql;
    "a joined function that fails leaves no commit, and so no hook of one";
    async fn<B>(bed) {
        let log = Log::default();
        let told = bed.db.transaction(async || {
            bed.insert(1).await?;
            logs(bed, &log, "outer")?;
            let joined = bed.db.transaction(async || {
                logs(bed, &log, "inner")?;
                refused::<()>()
            });
            joined.await.unwrap_err();
            Ok::<_, Error>(())
        });
        assert!(matches!(told.await, Err(Error::UnexpectedRollback { .. })));
        assert!(log.take().is_empty());
    }
}

case! {
    h_14 on sqlite, postgres, mysql;
    "after_rollback of a savepoint runs when that is rolled back, not when the transaction ends";
    async fn<B>(bed) {
        let log = Log::default();
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let nested = bed.db.savepoint(async || {
                bed.insert(2).await?;
                logs_all(bed, &log, "nested")?;
                refused::<()>()
            });
            nested.await.unwrap_err();
            assert_eq!(log.take(), ["rollback nested", "completion nested RolledBack"]);
            Ok::<_, Error>(())
        }).await.unwrap();
        assert!(log.take().is_empty());
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    h_15 on postgres, mysql;
    "a hook in RequiresNew runs at its end, and the outer's failure does not undo it";
    async fn<B>(bed) {
        let log = Log::default();
        let outer = bed.db.transaction(async || {
            bed.insert(1).await?;
            // U-01: each hook goes with its own transaction.
            logs_all(bed, &log, "outer")?;
            bed.db.transaction_with(mode(Propagation::RequiresNew), async || {
                bed.insert(2).await?;
                logs_all(bed, &log, "inner")
            }).await?;
            let expected = ["before inner", "commit inner", "completion inner Committed"];
            assert_eq!(log.take(), expected);
            refused::<()>()
        });
        outer.await.unwrap_err();
        assert_eq!(log.take(), ["rollback outer", "completion outer RolledBack"]);
        assert_eq!(bed.rows().await, [2]);
    }
}

case! {
    h_16 on sqlite, postgres, mysql;
    "without a transaction after_commit is refused, and after_commit_or_now runs at once";
    async fn<B>(bed) {
        let log = Log::default();
        let told = logs(bed, &log, "never");
        assert!(matches!(told, Err(Error::NoTransaction { .. })), "{told:?}");
        let told = log.clone();
        bed.db.after_commit_or_now(async move || told.add("now")).await.unwrap();
        assert_eq!(log.take(), ["now"]);
        let failed = bed.db.after_commit_or_now(async || Err::<(), _>("out of paper")).await;
        let Err(error @ Error::Hook(failure)) = &failed else { panic!("{failed:?}") };
        assert_eq!(failure.reason().to_string(), "out of paper");
        assert!(error.to_string().contains("hooks.rs"), "{error}");

        bed.db.transaction(async || {
            bed.insert(1).await?;
            let told = log.clone();
            bed.db.after_commit_or_now(async move || told.add("later")).await?;
            assert!(log.take().is_empty());
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(log.take(), ["later"]);
    }
}

case! {
    h_17 on sqlite, postgres, mysql;
    "a scope without a transaction is as none: NotSupported, Supports and Never";
    async fn<B>(bed) {
        let log = Log::default();
        for without in [Propagation::NotSupported, Propagation::Supports, Propagation::Never] {
            bed.db.transaction_with(mode(without), async || {
                let told = logs(bed, &log, "never");
                assert!(matches!(told, Err(Error::NoTransaction { .. })), "{told:?}");
                let told = log.clone();
                bed.db.after_commit_or_now(async move || told.add("now")).await?;
                assert_eq!(log.take(), ["now"]);
                Ok::<_, Error>(())
            }).await.unwrap();
        }
        bed.db.transaction(async || {
            bed.db.transaction_with(mode(Propagation::Supports), async || logs(bed, &log, "joined")).await
        }).await.unwrap();
        assert_eq!(log.take(), ["joined"]);
    }
}

case! {
    h_18 on sqlite, postgres, mysql;
    "a before_commit hook that fails rolls back, and its error is the scope's";
    async fn<B>(bed) {
        let log = Log::default();
        let owner = TransactionOptions::new().name("owner");
        let failed = bed.db.transaction_with(owner, async || {
            bed.insert(1).await?;
            logs_all(bed, &log, "first")?;
            bed.db.before_commit(async || Err::<(), _>("out of paper"))?;
            logs_all(bed, &log, "second")
        });
        let failed = failed.await;
        let Err(error @ Error::BeforeCommit { function, failure, .. }) = &failed else {
            panic!("{failed:?}");
        };
        assert_eq!((function.name(), failure.kind()), ("owner", HookKind::BeforeCommit));
        assert_eq!(failure.reason().to_string(), "out of paper");
        assert_eq!(error.outcome(), Outcome::RolledBack);
        assert!(!error.is_retryable());
        let expected = [
            "before first", "rollback first", "rollback second",
            "completion first RolledBack", "completion second RolledBack",
        ];
        assert_eq!(log.take(), expected);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    h_18_swallowed on sqlite, postgres, mysql;
    "a statement that fails in a before_commit hook dooms the transaction even if it is swallowed";
    async fn<B>(bed) {
        let told = bed.db.transaction(async || {
            bed.insert(1).await?;
            let hook = Arc::clone(bed);
            bed.db.before_commit(async move || {
                hook.insert(1).await.unwrap_err();
            })
        });
        assert!(matches!(told.await, Err(Error::UnexpectedRollback { .. })));
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    h_18_panic on sqlite, postgres, mysql;
    "a before_commit hook that panics rolls back like the body";
    async fn<B>(bed) {
        let log = Log::default();
        let scope = bed.db.transaction(async || {
            bed.insert(1).await?;
            logs_all(bed, &log, "a")?;
            bed.db.hook_order(-1).before_commit(async || panics("as it may"))
        });
        AssertUnwindSafe(scope).catch_unwind().await.unwrap_err();
        bed.db.drain().await;
        assert_eq!(log.take(), ["rollback a", "completion a RolledBack"]);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    h_18_registers on sqlite, postgres, mysql;
    "a before_commit hook that a before_commit hook registers runs too";
    async fn<B>(bed) {
        let log = Log::default();
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let (hook, told) = (Arc::clone(bed), log.clone());
            bed.db.before_commit(async move || {
                told.add("first");
                logs_all(&hook, &told, "second")
            })
        }).await.unwrap();
        let expected = ["first", "before second", "commit second", "completion second Committed"];
        assert_eq!(log.take(), expected);
    }
}

/// Registers an `after_commit` hook that fails and one that panics, each before one that logs.
fn fails<B: Backend>(bed: &Bed<B>, log: &Log) -> Result<(), Error> {
    bed.db.after_commit(async || Err::<(), _>("out of paper"))?;
    logs(bed, log, "b")?;
    bed.db.after_commit(async || panics("out of ink"))?;
    logs(bed, log, "d")
}

fn reasons(failures: &[HookFailure]) -> Vec<String> {
    failures
        .iter()
        .map(|failure| failure.reason().to_string())
        .collect()
}

case! {
    h_23 on sqlite, postgres, mysql;
    "a failing and a panicking hook let the others run, and the committed value is returned";
    async fn<B>(bed) {
        let log = Log::default();
        let (value, failures) = hook_failures(async || {
            let owner = TransactionOptions::new().name("owner");
            bed.db.transaction_with(owner, async || {
                bed.insert(1).await?;
                fails(bed, &log)?;
                Ok::<_, Error>("the value")
            }).await
        }).await;
        // H-25: the value is not lost, and "committed, hook failed" can be told from anything else.
        assert_eq!(value.unwrap(), "the value");
        assert_eq!(log.take(), ["b", "d"]);
        assert_eq!(bed.rows().await, [1]);
        assert_eq!(reasons(&failures), ["out of paper", "it panicked: out of ink"]);
        for failure in &failures {
            assert_eq!(failure.completion(), Some(Completion::Committed));
            assert_eq!(failure.kind(), HookKind::AfterCommit);
            assert_eq!(failure.function().name(), "owner");
            assert!(failure.hook().file().ends_with("hooks.rs"), "{failure}");
        }

        // Nobody is told of what failed before or elsewhere.
        let (_, failures) = hook_failures(async || bed.rows().await).await;
        assert!(failures.is_empty());
    }
}

case! {
    h_26 on sqlite, postgres, mysql;
    "a failing after_rollback or after_completion hook changes nothing about the error";
    async fn<B>(bed) {
        let log = Log::default();
        let (failed, failures) = hook_failures(async || {
            bed.db.transaction(async || {
                bed.insert(1).await?;
                bed.db.after_rollback(async || Err::<(), _>("first"))?;
                bed.db.after_completion(async |_| panics("second"))?;
                logs_all(bed, &log, "a")?;
                refused::<()>()
            }).await
        }).await;
        assert!(matches!(failed, Err(Error::Database(sqlx::Error::RowNotFound))), "{failed:?}");
        assert_eq!(reasons(&failures), ["first", "it panicked: second"]);
        assert_eq!(failures[0].completion(), Some(Completion::RolledBack));
        assert_eq!(log.take(), ["rollback a", "completion a RolledBack"]);
    }
}

case! {
    h_27 on sqlite, postgres, mysql; pool = 1;
    "no hook is left for the next transaction on the connection: after commit, rollback and failure";
    async fn<B>(bed) {
        let log = Log::default();
        bed.db.transaction(async || { bed.insert(1).await?; logs_all(bed, &log, "1") }).await.unwrap();
        assert_eq!(log.take().len(), 3);
        bed.db.transaction(async || Ok::<_, Error>(bed.insert(2).await?)).await.unwrap();
        assert!(log.take().is_empty());

        // H-28
        let failed = bed.db.transaction(async || {
            bed.insert(3).await?;
            logs_all(bed, &log, "3")?;
            refused::<()>()
        });
        failed.await.unwrap_err();
        assert_eq!(log.take().len(), 2);
        bed.db.transaction(async || Ok::<_, Error>(bed.insert(4).await?)).await.unwrap();
        assert!(log.take().is_empty());

        // H-30: one that failed is not run again.
        let failing = bed.db.transaction(async || { bed.insert(5).await?; fails(bed, &log) });
        failing.await.unwrap();
        assert_eq!(log.take(), ["b", "d"]);
        bed.db.transaction(async || { bed.insert(6).await?; logs(bed, &log, "6") }).await.unwrap();
        assert_eq!(log.take(), ["6"]);
    }
}

case! {
    h_29 on postgres, mysql; pool = 1;
    "no hook of a transaction whose connection was killed is left for the next";
    async fn<B>(bed) {
        let log = Log::default();
        let killed = bed.db.transaction(async || {
            bed.insert(1).await?;
            logs_all(bed, &log, "1")?;
            bed.kill(bed.pid().await?).await;
            bed.insert(2).await?;
            Ok::<_, Error>(())
        });
        killed.await.unwrap_err();
        assert_eq!(log.take(), ["rollback 1", "completion 1 RolledBack"]);
        bed.db.transaction(async || Ok::<_, Error>(bed.insert(3).await?)).await.unwrap();
        assert!(log.take().is_empty());
        assert_eq!(bed.rows().await, [3]);
    }
}

case! {
    h_31 on sqlite, postgres, mysql;
    "inside a hook after_commit is an error, and after_commit_or_now runs at once";
    async fn<B>(bed) {
        let log = Log::default();
        let ((), failures) = hook_failures(async || {
            bed.db.transaction(async || {
                bed.insert(1).await?;
                for name in ["1", "2"] {
                    let (hook, told) = (Arc::clone(bed), log.clone());
                    bed.db.after_commit(async move || {
                        told.add(name);
                        let inner = told.clone();
                        hook.db.after_commit_or_now(async move || inner.add(format!("1{name}"))).await?;
                        logs(&hook, &told, "never")
                    })?;
                }
                // H-37
                let (hook, told) = (Arc::clone(bed), log.clone());
                bed.db.after_completion(async move |_| logs(&hook, &told, "never"))?;
                Ok::<_, Error>(())
            }).await.unwrap();
        }).await;
        assert_eq!(log.take(), ["1", "11", "2", "12"]);
        assert_eq!(failures.len(), 3);
        for failure in failures {
            let told = failure.reason().downcast_ref();
            assert!(matches!(told, Some(Error::NoTransaction { .. })), "{failure}");
        }
    }
}

case! {
    h_32 on sqlite, postgres, mysql; pool = 1;
    "a hook's own transaction commits by itself, on the connection that its owner has given back";
    async fn<B>(bed) {
        let log = Log::default();
        // H-34: there is but one connection. H-35: the hook is in no transaction.
        let (ended, failures) = hook_failures(async || {
            bed.db.transaction(async || {
                bed.insert(1).await?;
                let (hook, told) = (Arc::clone(bed), log.clone());
                bed.db.after_commit(async move || {
                    assert!(!hook.db.is_in_transaction());
                    let outside = hook.insert(2).await.unwrap_err();
                    assert!(matches!(Error::from(outside), Error::OutsideScope));
                    hook.db.transaction(async || {
                        hook.insert(3).await?;
                        logs(&hook, &told, "of the hook's own")
                    }).await?;
                    told.add("after its own");
                    Ok::<_, Error>(())
                })
            }).await
        }).await;
        ended.unwrap();
        assert!(failures.is_empty(), "{failures:?}");
        assert_eq!(log.take(), ["of the hook's own", "after its own"]);
        assert_eq!(bed.rows().await, [1, 3]);
    }
}

case! {
    h_33 on postgres, mysql; pool = 2;
    "a hook's failing transaction cannot doom the one that its owner's owner still has open";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            bed.db.transaction_with(mode(Propagation::RequiresNew), async || {
                bed.insert(2).await?;
                let hook = Arc::clone(bed);
                bed.db.after_commit(async move || {
                    // Neither a statement nor a scope of the hook gets into the outer.
                    assert!(!hook.db.is_in_transaction());
                    hook.insert(3).await.unwrap_err();
                    hook.db.transaction(async || Ok::<_, Error>(hook.insert(2).await?)).await
                })
            }).await?;
            assert!(!bed.db.is_rollback_only());
            assert!(bed.db.is_in_transaction());
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    h_38 on sqlite, postgres, mysql;
    "a hook cannot be registered through a scope that has ended";
    async fn<B>(bed) {
        let log = Log::default();
        let tx = bed.db.begin().await.unwrap();
        let inner = tx.within(async || bed.db.begin().await).await.unwrap();
        tx.commit().await.unwrap_err();
        let late = inner.within(async || logs(bed, &log, "late")).await;
        assert!(matches!(late, Err(Error::TransactionClosed { .. })), "{late:?}");
        drop(inner);
        assert!(log.take().is_empty());
    }
}

case! {
    h_38_tx on sqlite, postgres, mysql;
    "the hooks of an explicit transaction run in its commit, its rollback, or after its drop";
    async fn<B>(bed) {
        let log = Log::default();
        for (id, end) in (1..).zip(["commit", "rollback", "drop"]) {
            let tx = bed.db.begin().await.unwrap();
            tx.within(async || {
                bed.insert(id).await?;
                logs_all(bed, &log, end)
            }).await.unwrap();
            assert!(log.take().is_empty());
            match end {
                "commit" => tx.commit().await.unwrap(),
                "rollback" => tx.rollback().await.unwrap(),
                _ => {
                    drop(tx);
                    bed.db.drain().await;
                }
            }
            let expected: &[&str] = if end == "commit" {
                &["before commit", "commit commit", "completion commit Committed"]
            } else {
                &[&format!("rollback {end}"), &format!("completion {end} RolledBack")]
            };
            assert_eq!(log.take(), expected);
        }
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    h_39 on sqlite, postgres;
    "a COMMIT that the server refuses is a rollback to the hooks";
    async fn<B>(bed) {
        let log = Log::default();
        let told = bed.db.transaction(async || {
            B::exec(&bed.db, "insert into child (id, parent_id) values (1, 7)").await?;
            logs_all(bed, &log, "a")
        });
        assert!(matches!(told.await, Err(Error::Commit { .. })));
        assert_eq!(log.take(), ["before a", "rollback a", "completion a RolledBack"]);
    }
}

case! {
    h_40 on postgres, mysql; bed = Bed::<B>::impatient(1);
    "where nobody can say what became of COMMIT, neither after_commit nor after_rollback runs";
    async fn<B>(bed, proxy) {
        let log = Log::default();
        let trap = proxy.cut_after("COMMIT");
        let told = bed.db.transaction(async || {
            bed.insert(1).await?;
            proxy.shut(true);
            logs_all(bed, &log, "a")
        });
        let told = told.await;
        proxy.shut(false);
        assert!(trap.has_sprung());
        assert!(matches!(told, Err(Error::CommitUnknown { .. })), "{told:?}");
        assert_eq!(log.take(), ["before a", "completion a Unknown"]);
    }
}

case! {
    h_40_resolved on postgres;
    "after a lost answer the hooks learn what the server says became of COMMIT";
    async fn<B>(bed, proxy) {
        let log = Log::default();
        let lays: [(i64, Lay, &[&str]); 2] = [
            (1, Proxy::cut_after, &["before a", "commit a", "completion a Committed"]),
            (2, Proxy::cut_before, &["before a", "rollback a", "completion a RolledBack"]),
        ];
        for dropped in [false, true] {
            for (id, lay, expected) in lays {
                bed.control("delete from t").await;
                let trap = lay(proxy, "COMMIT");
                let scope = bed.db.transaction(async || {
                    bed.insert(id).await?;
                    logs_all(bed, &log, "a")
                });
                if dropped {
                    tokio::select! {
                        biased;
                        // The caller is gone before the server is asked, or while it is.
                        () = trap.sprung() => {}
                        _ = scope => {}
                    }
                    bed.db.drain().await;
                } else {
                    assert_eq!(scope.await.is_ok(), id == 1);
                }
                assert!(trap.has_sprung());
                assert_eq!(log.take(), expected);
                assert_eq!(bed.rows().await == [1], id == 1);
            }
        }
    }
}

case! {
    h_41 on postgres, mysql;
    "a ROLLBACK that is lost is one to the hooks, since no COMMIT was sent";
    async fn<B>(bed, proxy) {
        let log = Log::default();
        let trap = proxy.cut_before("ROLLBACK");
        let failed = bed.db.transaction(async || {
            bed.insert(1).await?;
            logs_all(bed, &log, "a")?;
            refused::<()>()
        });
        failed.await.unwrap_err();
        assert!(trap.has_sprung());
        assert_eq!(log.take(), ["rollback a", "completion a RolledBack"]);
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    h_43 on sqlite, postgres, mysql;
    "hooks of a scope that ran no statement run by its outcome, and need no connection";
    async fn<B>(bed) {
        // Z-14
        let log = Log::default();
        bed.db.transaction(async || logs_all(bed, &log, "a")).await.unwrap();
        assert_eq!(log.take(), ["before a", "commit a", "completion a Committed"]);
        let failed = bed.db.transaction(async || { logs_all(bed, &log, "a")?; refused::<()>() });
        failed.await.unwrap_err();
        assert_eq!(log.take(), ["rollback a", "completion a RolledBack"]);
        assert_eq!(bed.db.pool().size(), 0);
    }
}

case! {
    h_43_before on sqlite, postgres, mysql;
    "a before_commit hook may run the first statement of the transaction";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            let hook = Arc::clone(bed);
            bed.db.before_commit(async move || hook.insert(1).await)
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    h_51_dropped_in_commit on postgres, mysql;
    "an owner dropped while COMMIT is on its way: the hooks learn what the server said";
    async fn<B>(bed, proxy) {
        let log = Log::default();
        let trap = proxy.hold_after("COMMIT");
        let scope = bed.db.transaction(async || {
            bed.insert(1).await?;
            logs_all(bed, &log, "a")
        });
        tokio::select! {
            biased;
            ended = scope => panic!("it was held: {ended:?}"),
            () = trap.sprung() => {}
        }
        assert_eq!(log.take(), ["before a"]);
        trap.release();
        bed.db.drain().await;
        assert_eq!(log.take(), ["commit a", "completion a Committed"]);
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    h_51_dropped_in_hook on sqlite, postgres, mysql;
    "an owner dropped in the middle of a hook: it and those after it go on";
    async fn<B>(bed) {
        // C-07, C-29
        let log = Log::default();
        let (go_on, gone_on) = oneshot::channel::<()>();
        let (started, has_started) = oneshot::channel::<()>();
        let scope = bed.db.transaction(async || {
            bed.insert(1).await?;
            let told = log.clone();
            bed.db.after_commit(async move || {
                started.send(()).ok();
                gone_on.await.ok();
                told.add("first");
            })?;
            logs(bed, &log, "second")
        });
        tokio::select! {
            biased;
            ended = scope => panic!("its hook waits: {ended:?}"),
            started = has_started => started.unwrap(),
        }
        assert!(log.take().is_empty());
        go_on.send(()).unwrap();
        bed.db.drain().await;
        assert_eq!(log.take(), ["first", "second"]);
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    h_51_locks on sqlite, postgres, mysql;
    "a hook finds the lock of its scope open, so somebody else can take it meanwhile";
    async fn<B>(bed) {
        let log = Log::default();
        let tx = bed.db.begin().await.unwrap();
        bed.db.locked("k", async || {
            tx.within(async || {
                bed.insert(1).await?;
                let (hook, told) = (Arc::clone(bed), log.clone());
                bed.db.after_commit(async move || {
                    hook.db.locked("k", async || { told.add("has it"); Ok::<_, Error>(()) }).await
                })
            }).await
        }).await.unwrap();
        // The transaction has kept it until now.
        tx.commit().await.unwrap();
        assert_eq!(log.take(), ["has it"]);
    }
}

case! {
    h_51_own_lock on sqlite, postgres, mysql;
    "a hook finds the lock that its own scope has taken open, for everybody";
    async fn<B>(bed) {
        let log = Log::default();
        bed.db.transaction_with(TransactionOptions::new().lock("k"), async || {
            bed.insert(1).await?;
            let (hook, told) = (Arc::clone(bed), log.clone());
            bed.db.after_commit(async move || {
                let elsewhere = tokio::spawn(async move {
                    let locked = hook.db.locked("k", async || {
                        told.add("has it");
                        Ok::<_, Error>(())
                    });
                    locked.await
                });
                elsewhere.await.unwrap()
            })
        }).await.unwrap();
        assert_eq!(log.take(), ["has it"]);
    }
}

/// A service whose error says nothing of what happened.
#[derive(Debug)]
struct Lossy(#[expect(dead_code, reason = "a failed test shows it")] String);

impl From<Error> for Lossy {
    fn from(_: Error) -> Self {
        Self("something went wrong".to_owned())
    }
}

case! {
    r_25 on sqlite, postgres;
    "where the error type loses the outcome, a hook still knows it";
    async fn<B>(bed) {
        let log = Log::default();
        let told = bed.db.transaction(async || {
            let orphan = "insert into child (id, parent_id) values (1, 7)";
            B::exec(&bed.db, orphan).await.map_err(Error::from)?;
            logs_all(bed, &log, "a")?;
            Ok::<_, Lossy>(())
        });
        told.await.unwrap_err();
        assert_eq!(log.take(), ["before a", "rollback a", "completion a RolledBack"]);
    }
}

case! {
    o_19 on sqlite, postgres, mysql;
    "a doomed transaction runs no before_commit hook, whatever its owner returns";
    async fn<B>(bed) {
        let log = Log::default();
        for ends_well in [true, false] {
            let told = bed.db.transaction(async || {
                bed.insert(1).await?;
                logs_all(bed, &log, "a")?;
                bed.db.set_rollback_only("regretted")?;
                if ends_well { Ok(()) } else { refused() }
            });
            told.await.unwrap_err();
            assert_eq!(log.take(), ["rollback a", "completion a RolledBack"]);
        }
    }
}

case! {
    o_19_outlived on sqlite, postgres, mysql;
    "nor does one whose owner leaves while a Tx that joined it is open, left so by a hook or not";
    async fn<B>(bed) {
        let log = Log::default();
        for by_a_hook in [false, true] {
            let open = Arc::new(Mutex::new(None));
            let told = bed.db.transaction(async || {
                bed.insert(1).await?;
                if by_a_hook {
                    let (hook, kept, log) = (Arc::clone(bed), Arc::clone(&open), log.clone());
                    bed.db.before_commit(async move || {
                        logs_all(&hook, &log, "a")?;
                        *kept.lock().unwrap() = Some(hook.db.begin().await?);
                        Ok::<_, Error>(())
                    })
                } else {
                    logs_all(bed, &log, "a")?;
                    *open.lock().unwrap() = Some(bed.db.begin().await?);
                    Ok(())
                }
            });
            let told = told.await;
            assert!(matches!(told, Err(Error::UnexpectedRollback { .. })), "{told:?}");
            assert_eq!(log.take(), ["rollback a", "completion a RolledBack"]);
            drop(open);
        }
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    h_46 on sqlite, postgres, mysql;
    "a hook knows its transaction: function, mode, level, read_only, outcome and a number of its own";
    async fn<B>(bed) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let audit = mode(Propagation::RequiresNew)
            .isolation(Isolation::Serializable)
            .read_only()
            .name("audit");
        for fails in [false, true] {
            let scope = bed.db.transaction_with(audit.clone(), async || {
                let transaction = bed.db.transaction_info()?;
                let (before, after) = (Arc::clone(bed), Arc::clone(&told));
                bed.db.before_commit(async move || {
                    assert_eq!(before.db.transaction_info()?, transaction);
                    Ok::<_, Error>(())
                })?;
                bed.db.after_completion(async move |end| after.lock().unwrap().push((transaction, end)))?;
                bed.visible().await?;
                // The same for all who have joined, in savepoints too.
                bed.db.transaction_with(mode(Propagation::Supports).name("joined"), async || {
                    assert_eq!(bed.db.transaction_info()?, transaction);
                    Ok::<_, Error>(())
                }).await?;
                if fails { refused() } else { Ok(()) }
            });
            assert_eq!(scope.await.is_err(), fails);
        }
        let told = told.lock().unwrap().clone();
        let [(first, Completion::Committed), (second, Completion::RolledBack)] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert_ne!(first.id(), second.id());
        for transaction in [first, second] {
            assert_eq!(transaction.function().name(), "audit");
            assert_eq!(transaction.propagation(), Propagation::RequiresNew);
            assert_eq!(transaction.isolation(), Some(Isolation::Serializable));
            assert!(transaction.is_read_only());
        }
        let none = bed.db.transaction_info();
        assert!(matches!(none, Err(Error::NoTransaction { .. })), "{none:?}");
    }
}

case! {
    h_49 on sqlite, postgres, mysql; pool = 1;
    "a spawned hook does not hold up its function, drain waits for it, and it has its own chain";
    async fn<B>(bed) {
        let log = Log::default();
        let (go, wait) = oneshot::channel::<()>();
        let ((), failures) = hook_failures(async || {
            bed.db.transaction(async || {
                bed.insert(1).await?;
                let (hook, told) = (Arc::clone(bed), log.clone());
                bed.db.after_commit_spawn(async move || {
                    wait.await.ok();
                    hook.db.transaction(async || Ok::<_, Error>(hook.insert(2).await?)).await?;
                    told.add("spawned");
                    Err::<(), _>(Error::OutsideScope)
                })?;
                logs(bed, &log, "awaited")
            }).await.unwrap();
        }).await;
        assert_eq!(log.take(), ["awaited"]);
        assert!(failures.is_empty(), "nobody waits for it: {failures:?}");
        assert_eq!(bed.rows().await, [1]);
        let mut drained = Box::pin(bed.db.drain());
        assert!(futures_util::poll!(drained.as_mut()).is_pending());
        go.send(()).unwrap();
        drained.await;
        assert_eq!(log.take(), ["spawned"]);
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    h_49_drains on sqlite, postgres, mysql;
    "a hook may wait for the clean-ups that it is one of: for the others, and not for itself";
    async fn<B>(bed) {
        let log = Log::default();
        bed.db.transaction(async || {
            bed.insert(1).await?;
            for name in ["one", "two"] {
                let (drains, log) = (bed.clone(), log.clone());
                bed.db.after_commit_spawn(async move || {
                    drains.db.drain().await;
                    log.add(name);
                })?;
            }
            Ok::<_, Error>(())
        }).await.unwrap();
        bed.db.drain().await;
        let mut drained = log.take();
        drained.sort();
        assert_eq!(drained, ["one", "two"]);

        let mut dropped = Box::pin(bed.db.transaction(async || {
            let (drains, log) = (bed.clone(), log.clone());
            bed.db.after_rollback(async move || {
                drains.db.drain().await;
                log.add("rolled back");
            })?;
            bed.insert(2).await?;
            std::future::pending::<Result<(), Error>>().await
        }));
        assert!(futures_util::poll!(dropped.as_mut()).is_pending());
        drop(dropped);
        bed.db.drain().await;
        assert_eq!(log.take(), ["rolled back"]);
    }
}

case! {
    h_49_dropped on sqlite, postgres, mysql;
    "a spawned hook is dropped with its savepoint and its transaction, and its panic is its own";
    async fn<B>(bed) {
        let log = Log::default();
        let spawns = |name: &'static str| {
            let told = log.clone();
            bed.db.after_commit_spawn(async move || {
                told.add(name);
                panics(name);
            })
        };
        let failed = bed.db.transaction(async || {
            bed.insert(1).await?;
            spawns("rolled back")?;
            refused::<()>()
        });
        failed.await.unwrap_err();
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let undone = bed.db.savepoint(async || {
                spawns("undone")?;
                refused::<()>()
            });
            undone.await.unwrap_err();
            spawns("kept")
        }).await.unwrap();
        bed.db.drain().await;
        assert_eq!(log.take(), ["kept"]);
        assert!(matches!(spawns("never"), Err(Error::NoTransaction { .. })));
    }
}
