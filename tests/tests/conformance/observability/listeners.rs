//! B-01 to B-10, H-45, U-08 and F-22: who listens to physical transactions.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use tx_runtime::{DbBuilder, Error, Moment, Propagation, TransactionOptions};
use tx_tests::{Backend, Bed, Proxy, Shape, case, poll_n};

fn mode(propagation: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(propagation)
}

fn refused<T>() -> Result<T, Error> {
    Err(Error::Database(sqlx::Error::RowNotFound))
}

/// What was heard, in order, with what else a test puts among it.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn add(&self, what: impl Into<String>) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Listens: the moment, whose transaction, `(savepoint)`, `failed`.
    fn listening<B: Backend>(&self, builder: DbBuilder<B>) -> DbBuilder<B> {
        let heard = self.clone();
        builder.listener(move |event| {
            let savepoint = event
                .savepoint
                .map_or_else(String::new, |it| format!(" ({})", it.name()));
            let failed = if event.failure.is_some() {
                " failed"
            } else {
                ""
            };
            let (moment, function) = (event.moment, event.transaction.function().name());
            heard.add(format!("{moment:?} {function}{savepoint}{failed}"));
        })
    }

    async fn bed<B: Backend>(&self, max: u32) -> Bed<B> {
        let bed = Bed::<B>::build(
            |pool| pool.max_connections(max),
            |builder| self.listening(builder),
        );
        bed.await.expect("the server is there")
    }

    async fn proxied<B: Backend>(&self) -> (Bed<B>, Proxy) {
        let bed =
            Bed::<B>::build_proxied(Shape::WHOLE, |pool| pool, |builder| self.listening(builder));
        bed.await.expect("the server is there")
    }
}

async fn done<B: Backend>(bed: Bed<B>) {
    bed.assert_clean().await;
    bed.finish().await;
}

fn named(name: &'static str) -> TransactionOptions {
    TransactionOptions::new().name(name)
}

case! {
    b_01 on sqlite, postgres, mysql;
    "a listener hears of begin and end, before and after each, ahead of the hooks, and in a Tx as well";
    async fn<B>(_default) {
        let heard = Heard::default();
        let bed = heard.bed::<B>(2).await;
        bed.db.transaction_with(named("a"), async || {
            heard.add("body");
            bed.insert(1).await?;
            // B-09
            let told = heard.clone();
            bed.db.after_commit(async move || told.add("hook"))
        }).await.unwrap();
        assert_eq!(heard.take(), ["body", "BeforeBegin a", "AfterBegin a", "BeforeCommit a", "AfterCommit a", "hook"]);

        let failed = bed.db.transaction_with(named("b"), async || {
            bed.insert(2).await?;
            refused::<()>()
        });
        failed.await.unwrap_err();
        assert_eq!(heard.take(), ["BeforeBegin b", "AfterBegin b", "BeforeRollback b", "AfterRollback b"]);

        let tx = bed.db.begin_with(named("tx")).await.unwrap();
        tx.within(async || bed.insert(2).await).await.unwrap();
        drop(tx);
        bed.db.drain().await;
        assert_eq!(heard.take(), ["BeforeBegin tx", "AfterBegin tx", "BeforeRollback tx", "AfterRollback tx"]);
        assert_eq!(bed.rows().await, [1]);
        done(bed).await;
    }
}

case! {
    b_02 on sqlite, postgres, mysql;
    "nothing is heard of scopes that join, that have no transaction, or in which nothing ran";
    async fn<B>(_default) {
        let heard = Heard::default();
        let bed = heard.bed::<B>(2).await;
        for joining in [Propagation::Required, Propagation::Supports, Propagation::Mandatory] {
            bed.db.transaction_with(named("owner"), async || {
                bed.db.transaction_with(mode(joining).name("joined"), async || Ok::<_, Error>(bed.visible().await?)).await?;
                Ok::<_, Error>(())
            }).await.unwrap();
            assert_eq!(heard.take(), ["BeforeBegin owner", "AfterBegin owner", "BeforeCommit owner", "AfterCommit owner"]);
        }
        bed.db.transaction_with(mode(Propagation::NotSupported), async || Ok::<_, Error>(bed.insert(1).await?)).await.unwrap();
        // B-10
        for fails in [true, false] {
            let empty = bed.db.transaction(async || {
                bed.db.savepoint(async || Ok::<_, Error>(())).await?;
                if fails { refused() } else { Ok(()) }
            });
            assert_eq!(empty.await.is_err(), fails);
        }
        assert!(heard.take().is_empty());
        done(bed).await;
    }
}

case! {
    b_03 on sqlite, postgres, mysql;
    "savepoints are told apart from their transaction; one that nobody used is never heard of";
    async fn<B>(_default) {
        // H-45: the savepoint is set with the first statement that needs it, and heard of then.
        let heard = Heard::default();
        let bed = heard.bed::<B>(2).await;
        bed.db.transaction_with(named("owner"), async || {
            bed.insert(1).await?;
            bed.db.savepoint(async || Ok::<_, Error>(())).await?;
            heard.add("kept");
            bed.db.transaction_with(mode(Propagation::Nested).name("kept"), async || Ok::<_, Error>(bed.insert(2).await?)).await?;
            heard.add("undone");
            let undone = bed.db.transaction_with(mode(Propagation::Nested).name("undone"), async || {
                bed.insert(3).await?;
                refused::<()>()
            });
            undone.await.unwrap_err();
            heard.add("dropped");
            let dropped = bed.db.transaction_with(mode(Propagation::Nested).name("dropped"), async || {
                bed.insert(4).await?;
                heard.add("half-way");
                std::future::pending::<Result<(), Error>>().await
            });
            tokio::select! {
                biased;
                _ = dropped => unreachable!(),
                () = async { while heard.0.lock().unwrap().last().is_none_or(|it| it != "half-way") { tokio::task::yield_now().await } } => {}
            }
            bed.insert(5).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(heard.take(), [
            "BeforeBegin owner", "AfterBegin owner",
            "kept",
            "BeforeBegin owner (kept)", "AfterBegin owner (kept)",
            "BeforeCommit owner (kept)", "AfterCommit owner (kept)",
            "undone",
            "BeforeBegin owner (undone)", "AfterBegin owner (undone)",
            "BeforeRollback owner (undone)", "AfterRollback owner (undone)",
            "dropped",
            "BeforeBegin owner (dropped)", "AfterBegin owner (dropped)",
            "half-way",
            "BeforeRollback owner (dropped)", "AfterRollback owner (dropped)",
            "BeforeCommit owner", "AfterCommit owner",
        ]);
        assert_eq!(bed.rows().await, [1, 2, 5]);
        done(bed).await;
    }
}

case! {
    b_04 on sqlite, postgres, mysql;
    "what fails is heard of with its failure: no connection, and a statement's is none";
    async fn<B>(_default) {
        let heard = Heard::default();
        let bed = heard.bed::<B>(2).await;
        let doomed = bed.db.transaction_with(named("doomed"), async || {
            bed.insert(1).await?;
            bed.insert(1).await.unwrap_err();
            Ok::<_, Error>(())
        });
        doomed.await.unwrap_err();
        assert_eq!(heard.take(), ["BeforeBegin doomed", "AfterBegin doomed", "BeforeRollback doomed", "AfterRollback doomed"]);
        bed.db.pool().close().await;
        let refused = bed.db.transaction_with(named("a"), async || Ok::<_, Error>(bed.insert(1).await?)).await;
        assert!(matches!(refused, Err(Error::Begin { .. })), "{refused:?}");
        assert_eq!(heard.take(), ["BeforeBegin a", "AfterBegin a failed"]);
        bed.finish().await;
    }
}

case! {
    b_04_commit on sqlite, postgres;
    "a COMMIT that the server refuses is heard of with its failure";
    async fn<B>(_default) {
        let heard = Heard::default();
        let bed = heard.bed::<B>(2).await;
        let orphan = bed.db.transaction_with(named("orphan"), async || {
            B::exec(&bed.db, "insert into child (id, parent_id) values (1, 7)").await?;
            Ok::<_, Error>(())
        });
        assert!(matches!(orphan.await, Err(Error::Commit { .. })));
        let heard = heard.take();
        assert_eq!(heard[2..], ["BeforeCommit orphan", "AfterCommit orphan failed"], "{heard:?}");
        done(bed).await;
    }
}

case! {
    b_04_lost on postgres, mysql;
    "an end whose answer is lost, or that a lost connection brings, is heard of with its failure, once";
    async fn<B>(_default) {
        let heard = Heard::default();
        let (bed, proxy) = heard.proxied::<B>().await;
        proxy.cut_after("COMMIT");
        let lost = bed.db.transaction_with(named("a"), async || Ok::<_, Error>(bed.insert(1).await?)).await;
        assert_eq!(lost.is_ok(), B::TELLS_FATES, "{lost:?}");
        let after = if B::TELLS_FATES { "AfterCommit a" } else { "AfterCommit a failed" };
        assert_eq!(heard.take()[2..], ["BeforeCommit a", after]);

        for notices in [true, false] {
            let killed = bed.db.transaction_with(named("b"), async || {
                bed.insert(2).await?;
                bed.kill(bed.pid().await?).await;
                if notices {
                    bed.insert(3).await?;
                }
                refused::<()>()
            });
            killed.await.unwrap_err();
            bed.db.drain().await;
            let end = heard.take().split_off(2);
            if notices {
                assert_eq!(end, ["AfterRollback b failed"]);
            } else {
                assert_eq!(end, ["BeforeRollback b", "AfterRollback b failed"]);
            }
        }
        assert_eq!(bed.rows().await, [1]);
        done(bed).await;
    }
}

case! {
    b_08 on sqlite, postgres, mysql;
    "a listener that panics changes nothing: neither results, nor hooks, nor who listens after it";
    async fn<B>(_default) {
        // F-22: the moment after COMMIT's answer and before the hooks is one of them.
        let heard = Heard::default();
        let bed = Bed::<B>::build(
            |pool| pool,
            |builder| heard.listening(builder.listener(|event| panic!("at {:?}", event.moment))),
        ).await.expect("the server is there");
        for fails in [false, true] {
            let scope = bed.db.transaction_with(named("a"), async || {
                bed.insert(1).await?;
                bed.db.savepoint(async || Ok::<_, Error>(bed.insert(2).await?)).await?;
                let told = heard.clone();
                bed.db.after_completion(async move |end| told.add(format!("{end:?}")))?;
                if fails { refused() } else { Ok(17) }
            });
            if fails {
                scope.await.unwrap_err();
                let heard = heard.take();
                assert_eq!(heard[6..], ["BeforeRollback a", "AfterRollback a", "RolledBack"], "{heard:?}");
            } else {
                assert_eq!(scope.await.unwrap(), 17);
                let heard = heard.take();
                assert_eq!(heard[6..], ["BeforeCommit a", "AfterCommit a", "Committed"], "{heard:?}");
                assert_eq!(bed.rows().await, [1, 2]);
                bed.control("delete from t").await;
            }
        }
        assert!(bed.rows().await.is_empty());
        done(bed).await;
    }
}

case! {
    u_08 on sqlite, postgres, mysql;
    "a transaction that is set aside is told so once, before the other begins, and again after its end";
    async fn<B>(_default) {
        let heard = Heard::default();
        let bed = heard.bed::<B>(3).await;
        bed.db.transaction_with(named("outer"), async || {
            // There is nothing to set aside yet.
            bed.db.transaction_with(mode(Propagation::RequiresNew), async || Ok::<_, Error>(())).await?;
            assert!(heard.take().is_empty());
            bed.insert(1).await?;
            heard.take();
            bed.db.transaction_with(mode(Propagation::RequiresNew).name("new"), async || {
                heard.add("entered");
                if B::SERVER {
                    bed.insert(2).await?;
                }
                // Joins the new one, so nobody is set aside.
                bed.db.transaction(async || Ok::<_, Error>(())).await?;
                // Without a transaction, and set aside already.
                bed.db.transaction_with(mode(Propagation::NotSupported), async || Ok::<_, Error>(())).await
            }).await?;
            heard.add("left");
            let begun: &[&str] = if B::SERVER {
                &["BeforeBegin new", "AfterBegin new", "Suspended new", "Resumed new", "BeforeCommit new", "AfterCommit new"]
            } else {
                &[]
            };
            let expected = [&["Suspended outer", "entered"], begun, &["Resumed outer", "left"]].concat();
            assert_eq!(heard.take(), expected);
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(heard.take(), ["BeforeCommit outer", "AfterCommit outer"]);
        done(bed).await;
    }
}

case! {
    u_08_ends on sqlite, postgres, mysql;
    "it goes on however the other has ended: by an error, a panic, a drop, or refused";
    async fn<B>(_default) {
        let heard = Heard::default();
        let bed = heard.bed::<B>(3).await;
        bed.db.transaction_with(named("outer"), async || {
            bed.insert(1).await?;
            heard.take();
            for suspending in [Propagation::RequiresNew, Propagation::NotSupported] {
                for end in ["error", "panic", "drop"] {
                    let scope = bed.db.transaction_with(mode(suspending), async || {
                        match end {
                            "error" => refused(),
                            "panic" => panic!("as it may"),
                            _ => std::future::pending::<Result<(), Error>>().await,
                        }
                    });
                    if end == "drop" {
                        poll_n(scope, 1).await;
                    } else {
                        let ended = std::panic::AssertUnwindSafe(scope).catch_unwind().await;
                        assert_eq!(ended.is_err(), end == "panic");
                    }
                    assert_eq!(heard.take(), ["Suspended outer", "Resumed outer"], "{suspending:?} {end}");
                }
            }
            let refused = bed.db.transaction_with(mode(Propagation::Never), async || Ok(())).await;
            assert!(matches!(refused, Err(Error::TransactionActive { .. })));
            assert!(heard.take().is_empty());
            let tx = bed.db.begin_with(mode(Propagation::RequiresNew)).await?;
            assert_eq!(heard.take(), ["Suspended outer"]);
            tx.rollback().await?;
            assert_eq!(heard.take(), ["Resumed outer"]);
            Ok::<_, Error>(())
        }).await.unwrap();
        done(bed).await;
    }
}

case! {
    b_01_numbers on sqlite, postgres, mysql;
    "each transaction is heard of under a number of its own, from many tasks at once";
    async fn<B>(_default) {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&ends);
        let bed = Arc::new(Bed::<B>::build(
            |pool| pool,
            |builder| builder.listener(move |event| told.lock().unwrap().push((event.transaction.id(), event.moment))),
        ).await.expect("the server is there"));
        let tasks = (0..16).map(|id| {
            let bed = Arc::clone(&bed);
            tokio::spawn(async move {
                bed.db.transaction(async || Ok::<_, Error>(bed.insert(id).await?)).await.unwrap();
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let mut ends = ends.lock().unwrap().clone();
        // Stable: each transaction's moments stay in their order.
        ends.sort_by_key(|(id, _)| *id);
        assert_eq!(ends.len(), 64);
        for moments in ends.chunks(4) {
            assert!(moments.iter().all(|(id, _)| *id == moments[0].0));
            let moments: Vec<_> = moments.iter().map(|(_, moment)| *moment).collect();
            assert_eq!(moments, [Moment::BeforeBegin, Moment::AfterBegin, Moment::BeforeCommit, Moment::AfterCommit]);
        }
        done(Arc::into_inner(bed).expect("the tasks have ended")).await;
    }
}
