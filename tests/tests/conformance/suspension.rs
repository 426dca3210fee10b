//! Group U: a transaction set aside for another one, or for none, and taken up again.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tx_runtime::{Error, Propagation, TransactionOptions, Tx, transactional};
use tx_tests::{Backend, Bed, acquired, case, pending_once, poll_n};

/// The modes that suspend.
const SUSPENDING: [Propagation; 2] = [Propagation::RequiresNew, Propagation::NotSupported];

fn mode(propagation: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(propagation)
}

/// What a body fails with on purpose.
fn on_purpose() -> Error {
    Error::Database(sqlx::Error::Protocol("on purpose".to_owned()))
}

fn is_on_purpose(error: &Error) -> bool {
    matches!(error, Error::Database(sqlx::Error::Protocol(text)) if text == "on purpose")
}

/// An outer transaction before it suspends.
struct Outer<'a, B: Backend> {
    bed: &'a Bed<B>,
    pid: Option<i64>,
}

impl<'a, B: Backend> Outer<'a, B> {
    /// Whether the outer can have run statements before it suspends: SQLite has one writer,
    /// so there it cannot.
    fn variants() -> &'static [bool] {
        if B::SERVER { &[false, true] } else { &[false] }
    }

    /// With the row 1 written, if `begun`.
    async fn start(bed: &'a Bed<B>, begun: bool) -> Result<Self, Error> {
        bed.control("delete from t").await;
        let mut pid = None;
        if begun {
            bed.insert(1).await?;
            pid = Some(bed.pid().await?);
        }
        Ok(Self { bed, pid })
    }

    /// Checks that the outer is the current transaction again; writes the row 9.
    async fn assert_resumed(&self) -> Result<(), Error> {
        let Self { bed, pid } = self;
        assert!(bed.db.is_in_transaction());
        assert!(!bed.db.is_rollback_only());
        bed.insert(9).await?;
        if let Some(pid) = pid {
            assert_eq!(bed.pid().await?, *pid);
            assert_eq!(bed.visible().await?.first(), Some(&1));
        }
        assert!(!bed.rows().await.contains(&9), "it is not autocommit");
        Ok(())
    }

    /// Checks what is stored once the outer has committed; `inner` is what the inner left.
    async fn assert_stored(bed: &Bed<B>, begun: bool, inner: &[i64]) {
        let mut expected: Vec<i64> = inner.to_vec();
        expected.extend(begun.then_some(1));
        expected.push(9);
        expected.sort_unstable();
        assert_eq!(bed.rows().await, expected);
    }
}

/// What a failed inner scope leaves behind: autocommit cannot be undone.
fn left_by(suspending: Propagation) -> &'static [i64] {
    if suspending == Propagation::NotSupported {
        &[2]
    } else {
        &[]
    }
}

case! {
    u_03 on sqlite, postgres, mysql;
    "after an inner scope that failed, the suspended transaction is the current one again";
    async fn<B>(bed) {
        for suspending in SUSPENDING {
            for &begun in Outer::<B>::variants() {
                bed.db.transaction(async || {
                    let outer = Outer::start(bed, begun).await?;
                    let fails = bed.db.transaction_with(mode(suspending), async || {
                        bed.insert(2).await?;
                        Err::<(), _>(on_purpose())
                    });
                    assert!(is_on_purpose(&fails.await.unwrap_err()));
                    outer.assert_resumed().await
                }).await.unwrap();
                Outer::assert_stored(bed, begun, left_by(suspending)).await;
            }
        }
    }
}

case! {
    u_04 on sqlite, postgres, mysql;
    "after an inner scope that panicked, the suspended transaction is the current one again";
    async fn<B>(bed) {
        for suspending in SUSPENDING {
            for &begun in Outer::<B>::variants() {
                bed.db.transaction(async || {
                    let outer = Outer::start(bed, begun).await?;
                    let panics = async || -> Result<(), Error> {
                        bed.insert(2).await?;
                        panic!("on purpose")
                    };
                    let panics = bed.db.transaction_with(mode(suspending), panics);
                    assert!(AssertUnwindSafe(panics).catch_unwind().await.is_err());
                    outer.assert_resumed().await
                }).await.unwrap();
                bed.db.drain().await;
                Outer::assert_stored(bed, begun, left_by(suspending)).await;
            }
        }
    }
}

/// Drops the inner scope after `polls` polls; gives whether it had finished.
async fn drop_inner_after<B: Backend>(
    bed: &Bed<B>,
    suspending: Propagation,
    begun: bool,
    polls: usize,
) -> bool {
    let mut finished = false;
    let outer = bed.db.transaction(async || {
        let outer = Outer::start(bed, begun).await?;
        let inner = bed.db.transaction_with(mode(suspending), async || {
            bed.insert(2).await?;
            pending_once().await;
            bed.insert(3).await?;
            Ok::<_, Error>(())
        });
        finished = poll_n(inner, polls).await.0.transpose()?.is_some();
        outer.assert_resumed().await
    });
    outer.await.unwrap();
    bed.db.drain().await;
    let mut inner = bed.rows().await;
    inner.retain(|id| (2..=3).contains(id));
    let possible: &[&[i64]] = match suspending {
        _ if finished => &[&[2, 3]],
        // A COMMIT that was sent runs to its answer.
        Propagation::RequiresNew => &[&[], &[2, 3]],
        _ => &[&[], &[2], &[2, 3]],
    };
    assert!(
        possible.contains(&inner.as_slice()),
        "{polls} polls: {inner:?}"
    );
    Outer::assert_stored(bed, begun, &inner).await;
    bed.clean().await.unwrap();
    finished
}

case! {
    u_05 on sqlite, postgres, mysql;
    "after an inner scope dropped at any await point, the suspended transaction is the current one";
    async fn<B>(bed) {
        for suspending in SUSPENDING {
            for &begun in Outer::<B>::variants() {
                // How often a call is pending depends on how fast the answers come.
                let (mut half_way, mut finished) = (0, 0);
                for polls in 0.. {
                    if drop_inner_after(bed, suspending, begun, polls).await {
                        finished += 1;
                    } else {
                        half_way += 1;
                    }
                    if finished == 3 {
                        break;
                    }
                }
                assert!(half_way >= 2);
            }
        }
    }
}

case! {
    u_05_select on sqlite, postgres, mysql;
    "after a select! that dropped the inner scope, the suspended transaction is the current one";
    async fn<B>(bed) {
        for suspending in SUSPENDING {
            for &begun in Outer::<B>::variants() {
                bed.db.transaction(async || {
                    let outer = Outer::start(bed, begun).await?;
                    let (written, wrote) = oneshot::channel();
                    let loser = bed.db.transaction_with(mode(suspending), async || {
                        bed.insert(2).await?;
                        written.send(()).expect("the other branch waits");
                        std::future::pending::<()>().await;
                        Ok::<_, Error>(())
                    });
                    tokio::select! {
                        never = loser => panic!("{never:?}"),
                        wrote = wrote => wrote.unwrap(),
                    }
                    outer.assert_resumed().await
                }).await.unwrap();
                bed.db.drain().await;
                Outer::assert_stored(bed, begun, left_by(suspending)).await;
            }
        }
    }
}

case! {
    u_06 on postgres, mysql; pool = 1;
    "RequiresNew for which the pool has no connection is refused at once; the outer commits";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            let outer = Outer::start(bed, true).await?;
            let refused = bed.db.transaction_with(mode(Propagation::RequiresNew), async || {
                Ok::<_, Error>(bed.insert(2).await?)
            });
            let refused = refused.await;
            assert!(matches!(refused, Err(Error::PoolTooSmall { .. })), "{refused:?}");
            outer.assert_resumed().await
        }).await.unwrap();
        Outer::assert_stored(bed, true, &[]).await;
    }
}

case! {
    u_06_closed on sqlite, postgres, mysql;
    "RequiresNew on a pool that was closed meanwhile fails; the outer commits";
    async fn<B>(bed) {
        let mut closing = None;
        bed.db.transaction(async || {
            bed.insert(1).await?;
            closing = Some(bed.db.pool().close());
            assert!(bed.db.pool().is_closed());
            let failed = bed.db.transaction_with(mode(Propagation::RequiresNew), async || {
                Ok::<_, Error>(bed.insert(2).await?)
            });
            match &failed.await {
                Err(Error::Begin { source: sqlx::Error::PoolClosed, .. }) if B::SERVER => {}
                Err(Error::SecondWriter { .. }) if !B::SERVER => {}
                other => panic!("{other:?}"),
            }
            assert!(!bed.db.is_rollback_only());
            bed.insert(9).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        closing.expect("it was closed").await;
        assert_eq!(bed.rows().await, [1, 9]);
    }
}

case! {
    u_06_wire on postgres, mysql; pool = 2;
    "RequiresNew whose BEGIN is lost on every connection fails; the outer commits on its own";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || {
            let outer = Outer::start(bed, true).await?;
            // The runtime replaces a connection found dead at BEGIN, but not for ever.
            let traps: Vec<_> = (0..20).map(|_| proxy.cut_before("BEGIN")).collect();
            let failed = bed.db.transaction_with(mode(Propagation::RequiresNew), async || {
                Ok::<_, Error>(bed.insert(2).await?)
            });
            let failed = failed.await;
            assert!(matches!(failed, Err(Error::Begin { .. })), "{failed:?}");
            assert!(traps[0].has_sprung());
            assert!(!traps[19].has_sprung());
            proxy.clear();
            outer.assert_resumed().await
        }).await.unwrap();
        Outer::assert_stored(bed, true, &[]).await;
    }
}

#[transactional(db = bed.db, propagation = NotSupported)]
async fn without<B: Backend>(bed: &Bed<B>, outer_pid: i64) -> Result<(), Error> {
    assert!(!bed.db.is_in_transaction());
    assert!(!bed.db.is_rollback_only());
    assert!(bed.visible().await?.is_empty());
    assert_ne!(bed.pid().await?, outer_pid);
    Ok(())
}

case! {
    u_09 on sqlite, postgres, mysql;
    "inside NotSupported there is no transaction, on the savepoint of an outer one either";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.insert(1).await?;
            let pid = bed.pid().await?;
            without(bed, pid).await?;
            bed.db.savepoint(async || {
                bed.insert(2).await?;
                without(bed, pid).await?;
                assert!(bed.db.is_in_transaction());
                assert_eq!(bed.visible().await?, [1, 2]);
                Ok::<_, Error>(())
            }).await
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    u_10 on postgres;
    "while suspended, a transaction stays open and idle: the server's view of it does not change";
    async fn<B>(bed) {
        for suspending in SUSPENDING {
            bed.db.transaction(async || {
                let outer = Outer::start(bed, true).await?;
                let sql = format!(
                    "select concat_ws(' ', state, xact_start, state_change, query) \
                     from pg_stat_activity where pid = {}",
                    outer.pid.expect("it has begun")
                );
                let before = bed.control_texts(&sql).await;
                assert!(before[0].starts_with("idle in transaction 20"), "{before:?}");
                bed.db.transaction_with(mode(suspending), async || {
                    assert_eq!(bed.control_texts(&sql).await, before);
                    bed.insert(2).await?;
                    assert_eq!(bed.control_texts(&sql).await, before);
                    Ok::<_, Error>(())
                }).await?;
                assert_eq!(bed.control_texts(&sql).await, before);
                outer.assert_resumed().await?;
                assert_ne!(bed.control_texts(&sql).await, before, "the view is alive");
                Ok::<_, Error>(())
            }).await.unwrap();
            Outer::assert_stored(bed, true, &[2]).await;
        }
    }
}

case! {
    u_10_wire on postgres, mysql;
    "nothing is sent on a suspended transaction's connection";
    async fn<B>(bed, proxy) {
        for suspending in SUSPENDING {
            bed.db.transaction(async || {
                let outer = Outer::start(bed, true).await?;
                let connection = proxy.events().last().expect("it has begun").0;
                let sent = || proxy.log().iter().filter(|(it, _)| *it == connection).count();
                let before = sent();
                bed.db.transaction_with(mode(suspending), async || {
                    bed.insert(2).await?;
                    assert_eq!(bed.visible().await?, [2]);
                    Ok::<_, Error>(())
                }).await?;
                let failed: Result<(), _> = bed.db.transaction_with(mode(suspending), async || {
                    bed.visible().await?;
                    Err(on_purpose())
                }).await;
                assert!(is_on_purpose(&failed.unwrap_err()));
                assert_eq!(sent(), before, "{:#?}", proxy.log());
                outer.assert_resumed().await?;
                assert!(sent() > before);
                Ok::<_, Error>(())
            }).await.unwrap();
            Outer::assert_stored(bed, true, &[2]).await;
            bed.clean().await.unwrap();
            proxy.clear();
        }
    }
}

/// A level that is a transaction of its own, like the two around it.
async fn innermost<B: Backend>(bed: &Bed<B>) -> Result<(), Error> {
    bed.db
        .transaction_with(mode(Propagation::RequiresNew), async || {
            bed.insert(4).await?;
            Err(on_purpose())
        })
        .await
}

async fn middle<B: Backend>(bed: &Bed<B>, begun: bool, fails: bool) -> Result<(), Error> {
    bed.db
        .transaction_with(mode(Propagation::RequiresNew), async || {
            let mut pid = None;
            if begun {
                bed.insert(2).await?;
                pid = Some(bed.pid().await?);
            }
            assert!(is_on_purpose(&innermost(bed).await.unwrap_err()));
            assert!(!bed.db.is_rollback_only());
            bed.insert(3).await?;
            let expected: &[i64] = if begun { &[2, 3] } else { &[3] };
            assert_eq!(bed.visible().await?, expected);
            if let Some(pid) = pid {
                assert_eq!(bed.pid().await?, pid);
            }
            if fails { Err(on_purpose()) } else { Ok(()) }
        })
        .await
}

case! {
    u_11 on sqlite, postgres, mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.nesting_depth(3));
    "of three transactions inside each other, each comes back when the one inside it has ended";
    async fn<B>(bed) {
        for fails in [true, false] {
            for &begun in Outer::<B>::variants() {
                bed.db.transaction(async || {
                    let outer = Outer::start(bed, begun).await?;
                    assert_eq!(middle(bed, begun, fails).await.is_err(), fails);
                    outer.assert_resumed().await
                }).await.unwrap();
                let inner: &[i64] = match (fails, begun) {
                    (true, _) => &[],
                    (false, true) => &[2, 3],
                    (false, false) => &[3],
                };
                Outer::assert_stored(bed, begun, inner).await;
            }
        }
    }
}

/// An explicit transaction in `propagation` that leaves the scope it was begun in.
async fn escapes<B: Backend>(
    bed: &Bed<B>,
    propagation: Propagation,
    fails: bool,
) -> (Result<(), Error>, Tx<'static, B>) {
    let mut escaped = None;
    let owner = bed
        .db
        .transaction(async || {
            bed.insert(1).await?;
            let tx = bed.db.begin_with(mode(propagation)).await?;
            B::exec(&tx, "insert into t (id) values (2)").await?;
            escaped = Some(tx);
            if fails { Err(on_purpose()) } else { Ok(()) }
        })
        .await;
    (owner, escaped.expect("it was begun"))
}

case! {
    u_12 on sqlite, postgres, mysql;
    "a savepoint that outlives its transaction cannot be used or committed, and is not stored";
    async fn<B>(bed) {
        for fails in [false, true] {
            let (owner, escaped) = escapes(bed, Propagation::Nested, fails).await;
            assert_eq!(owner.is_err(), fails);
            let late = B::exec(&escaped, "insert into t (id) values (3)").await;
            let late = late.map_err(Error::from);
            assert!(matches!(late, Err(Error::TransactionClosed { .. })), "{late:?}");
            let ended = escaped.commit().await;
            assert!(matches!(ended, Err(Error::TransactionClosed { .. })), "{ended:?}");
            let expected: &[i64] = if fails { &[] } else { &[1] };
            assert_eq!(bed.rows().await, expected);
            bed.control("delete from t").await;
        }
    }
}

case! {
    u_12_joined_failed on sqlite, postgres, mysql;
    "a joined Tx that outlives its owner's rollback does not say that it committed";
    async fn<B>(bed) {
        let (owner, escaped) = escapes(bed, Propagation::Required, true).await;
        assert!(is_on_purpose(&owner.unwrap_err()));
        let late = B::exec(&escaped, "insert into t (id) values (3)").await;
        let late = late.map_err(Error::from);
        assert!(matches!(late, Err(Error::TransactionClosed { .. })), "{late:?}");
        let ended = escaped.commit().await;
        assert!(bed.rows().await.is_empty());
        assert!(ended.is_err(), "Ok, and nothing is stored");
    }
}

case! {
    u_12_joined on sqlite, postgres, mysql;
    "an owner does not commit over a joined Tx that is still open";
    async fn<B>(bed) {
        // As for a participant that was dropped half-way: it has not said that it succeeded.
        let (owner, escaped) = escapes(bed, Propagation::Required, false).await;
        let stored = bed.rows().await;
        drop(escaped);
        assert!(owner.is_err(), "Ok, and stored: {stored:?}");
        assert!(stored.is_empty(), "{stored:?}");
    }
}

case! {
    u_12_siblings on sqlite, postgres, mysql;
    bed = Bed::<B>::build(
        |pool| pool.acquire_timeout(Duration::from_millis(300)),
        |builder| builder,
    );
    "a statement in one of two open savepoints, one after the other, ends in a named error";
    async fn<B>(bed) {
        // To connect may take longer than the pool is patient, and is not what is waited for here.
        drop(acquired(bed.db.pool()).await);
        bed.db.transaction(async || {
            let first = bed.db.begin_with(mode(Propagation::Nested).name("first")).await?;
            let second = bed.db.begin_with(mode(Propagation::Nested).name("second")).await?;
            B::exec(&first, "insert into t (id) values (1)").await?;
            let late = B::exec(&second, "insert into t (id) values (2)").await;
            let late = late.map_err(Error::from);
            let Err(Error::TurnTimeout { function, holder, .. }) = &late else {
                panic!("{late:?}");
            };
            assert_eq!((function.name(), holder.name()), ("second", "first"));
            first.commit().await?;
            B::exec(&second, "insert into t (id) values (3)").await?;
            second.commit().await
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 3]);
    }
}

case! {
    u_17 on sqlite, postgres, mysql; pool = 1;
    "an outer that has run no statement holds no connection while it is suspended";
    async fn<B>(bed) {
        bed.db.transaction(async || {
            bed.db.transaction_with(mode(Propagation::NotSupported), async || {
                bed.insert(1).await?;
                assert_eq!(bed.rows().await, [1]);
                Ok::<_, Error>(())
            }).await?;
            bed.db.transaction_with(mode(Propagation::RequiresNew), async || {
                Ok::<_, Error>(bed.insert(2).await?)
            }).await?;
            assert_eq!(bed.rows().await, [1, 2]);
            // The transaction begins only now.
            bed.insert(3).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2, 3]);
    }
}

case! {
    u_17_wire on postgres, mysql; pool = 1;
    "an outer that has run no statement sends nothing when it suspends and resumes";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || {
            bed.db.transaction_with(mode(Propagation::NotSupported), async || {
                Ok::<_, Error>(bed.insert(1).await?)
            }).await
        }).await.unwrap();
        assert!(proxy.events().is_empty(), "{:#?}", proxy.log());
        assert_eq!(bed.rows().await, [1]);
    }
}
