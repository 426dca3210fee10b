//! Nothing happens on a server before the first statement.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _};
use tokio::sync::oneshot;
use tx_runtime::{CauseKind, Db, Error, Isolation, Propagation, TransactionOptions, transactional};
use tx_tests::{Backend, Bed, Proxy, Trap, acquired, case};

const NEW: TransactionOptions = TransactionOptions::new()
    .propagation(Propagation::RequiresNew)
    .name("new");

/// Connects, so that the log has no greeting in it.
async fn warm<B: Backend>(bed: &Bed<B>, proxy: &Proxy) {
    B::int(B::pool(bed.db.pool()), "select 1").await.unwrap();
    proxy.clear();
}

#[transactional]
async fn says_nothing<B: Backend>(db: &Db<B>) -> Result<bool, Error> {
    Ok(db.is_in_transaction())
}

#[transactional]
async fn fails_first<B: Backend>(db: &Db<B>) -> Result<(), Error> {
    if db.is_in_transaction() {
        return Err(sqlx::Error::RowNotFound.into());
    }
    Ok(B::exec(db, "insert into t (id) values (1)")
        .await
        .map(drop)?)
}

case! {
    z_01 on sqlite, postgres, mysql; pool = 1;
    "a scope without a statement takes no connection, in whatever mode and with whatever result";
    async fn<B>(bed) {
        // Whoever wanted a connection would wait for this one in vain.
        let taken = bed.db.pool().acquire().await.unwrap();
        assert!(says_nothing(&bed.db).await.unwrap());
        for mode in [
            Propagation::Required,
            Propagation::RequiresNew,
            Propagation::Nested,
            Propagation::Supports,
            Propagation::NotSupported,
            Propagation::Never,
        ] {
            let options = TransactionOptions::new().propagation(mode);
            bed.db.transaction_with(options.clone(), async || Ok::<_, Error>(())).await.unwrap();
            let error = bed
                .db
                .transaction_with(options, async || Err::<(), _>(Error::OutsideScope))
                .await;
            assert!(matches!(error, Err(Error::OutsideScope)), "{mode}: {error:?}");
        }
        bed.db
            .transaction(async || bed.db.savepoint(async || says_nothing(&bed.db).await).await)
            .await
            .unwrap();
        bed.db.begin().await.unwrap().commit().await.unwrap();
        bed.db.begin().await.unwrap().rollback().await.unwrap();
        drop(bed.db.begin().await.unwrap());
        assert_eq!(bed.db.pool().size(), 1);
        drop(taken);
    }
}

case! {
    z_02 on postgres, mysql; pool = 1;
    "the first statement sends BEGIN with the isolation level, then itself";
    async fn<B>(bed, proxy) {
        warm(bed, proxy).await;
        let options = TransactionOptions::new().isolation(Isolation::Serializable);
        bed.db
            .transaction_with(options, async || {
                assert!(proxy.executed().is_empty());
                bed.insert(1).await?;
                let executed = proxy.executed();
                let [begin, .., statement] = executed.as_slice() else {
                    panic!("{executed:?}")
                };
                assert!(begin.1.contains("ISOLATION LEVEL SERIALIZABLE"), "{begin:?}");
                assert!(statement.1.starts_with("insert"), "{statement:?}");
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        assert_eq!(proxy.events(), [(0, "BEGIN"), (0, "COMMIT")]);
        assert_eq!(proxy.executed().len(), 3, "{:#?}", proxy.log());
    }
}

case! {
    z_03 on postgres, mysql;
    "an error before the first statement sends nothing";
    async fn<B>(bed, proxy) {
        let error = fails_first(&bed.db).await;
        assert!(matches!(error, Err(Error::Database(sqlx::Error::RowNotFound))), "{error:?}");
        assert!(proxy.log().is_empty(), "{:?}", proxy.log());
        assert_eq!(bed.db.pool().size(), 0);
    }
}

case! {
    z_04 on postgres, mysql; pool = 1;
    "a first statement inside of a savepoint sends BEGIN, SAVEPOINT, itself";
    async fn<B>(bed, proxy) {
        warm(bed, proxy).await;
        bed.db
            .transaction(async || {
                bed.db.savepoint(async || Ok::<_, Error>(bed.insert(1).await?)).await
            })
            .await
            .unwrap();
        let events: Vec<_> = proxy.events().into_iter().map(|(_, event)| event).collect();
        assert_eq!(events, ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"]);
        let executed = proxy.executed();
        assert_eq!(executed.len(), 5, "{executed:?}");
        assert!(executed[2].1.starts_with("insert"), "{executed:?}");
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    z_06 on sqlite, postgres, mysql;
    bed = Bed::<B>::build(
        |pool| pool.max_connections(1).acquire_timeout(Duration::from_secs(1)),
        |builder| builder,
    );
    "a scope that waits before its first statement keeps no connection from others";
    async fn<B>(bed) {
        // The evil: sqlx begins at once, and everyone else waits for the slow caller.
        let mut connection = acquired(bed.db.pool()).await;
        let eager = connection.begin().await.unwrap();
        let starved = bed.db.pool().acquire().await;
        assert!(matches!(starved, Err(sqlx::Error::PoolTimedOut)));
        eager.rollback().await.unwrap();
        drop(connection);

        let (entered, has_entered) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let slow = bed.db.transaction(async || {
            entered.send(()).unwrap();
            answered.await.unwrap();
            Ok::<_, Error>(bed.insert(1).await?)
        });
        let other = async {
            has_entered.await.unwrap();
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(2).await?)).await.unwrap();
            assert_eq!(bed.rows().await, [2]);
            answer.send(()).unwrap();
        };
        let (slow, ()) = tokio::join!(slow, other);
        slow.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

async fn swallows_a_failed_begin<B: Backend>(bed: &Bed<B>) {
    let swallowed = bed.db.transaction(async || {
        let first = Error::from(bed.insert(1).await.unwrap_err());
        assert!(matches!(first, Error::Begin { .. }), "{first:?}");
        let second = Error::from(bed.insert(2).await.unwrap_err());
        assert!(matches!(second, Error::Doomed { .. }), "{second:?}");
        Ok(())
    });
    match swallowed.await {
        Err(Error::UnexpectedRollback { cause, .. }) => assert_eq!(cause.kind(), CauseKind::Begin),
        other => panic!("{other:?}"),
    }
    assert!(bed.rows().await.is_empty());
}

case! {
    z_07 on postgres, mysql; pool = 1;
    "a BEGIN that failed fails the scope, whatever its body makes of it";
    async fn<B>(bed, proxy) {
        // A connection found dead is replaced; with a pool of one, once.
        let traps = [proxy.cut_before("BEGIN"), proxy.cut_before("BEGIN")];
        swallows_a_failed_begin(bed).await;
        assert!(traps.iter().all(Trap::has_sprung));
        assert!(proxy.events().is_empty(), "{:?}", proxy.log());
    }
}

case! {
    z_07_single_writer on sqlite; pool = 1;
    "a BEGIN that found the database locked fails the scope, whatever its body makes of it";
    async fn<B>(bed) {
        B::raw(B::pool(bed.db.pool()), "pragma busy_timeout = 0").await.unwrap();
        bed.control_raw("BEGIN IMMEDIATE").await;
        swallows_a_failed_begin(bed).await;
        bed.control_raw("ROLLBACK").await;
        bed.db.transaction(async || Ok::<_, Error>(bed.insert(3).await?)).await.unwrap();
        assert_eq!(bed.rows().await, [3]);
    }
}

case! {
    z_08 on postgres, mysql; pool = 1;
    "preparing a statement is a use of the connection, and begins";
    async fn<B>(bed, proxy) {
        warm(bed, proxy).await;
        bed.db
            .transaction(async || {
                let sql = AssertSqlSafe("select id from t").into_sql_str();
                drop((&bed.db).prepare(sql).await?);
                assert_eq!(proxy.events(), [(0, "BEGIN")]);
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        assert_eq!(proxy.events(), [(0, "BEGIN"), (0, "COMMIT")]);
    }
}

case! {
    z_09 on sqlite, postgres, mysql; pool = 1;
    "RequiresNew inside of a scope that has not begun needs one connection in all";
    async fn<B>(bed) {
        bed.db
            .transaction(async || {
                bed.db
                    .transaction_with(NEW, async || Ok::<_, Error>(bed.insert(1).await?))
                    .await?;
                assert_eq!(bed.rows().await, [1]);
                bed.insert(2).await?;
                assert_eq!(bed.rows().await, [1]);
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
        assert_eq!(bed.db.pool().size(), 1);
    }
}

case! {
    z_13 on sqlite, postgres, mysql;
    "the snapshot is of the first statement, not of the scope's entry";
    async fn<B>(bed) {
        let options = TransactionOptions::new().isolation(Isolation::RepeatableRead);
        bed.db
            .transaction_with(options, async || {
                bed.control("insert into t (id) values (1)").await;
                assert_eq!(bed.visible().await?, [1]);
                // On SQLite the scope is the one writer by now.
                if B::SERVER {
                    bed.control("insert into t (id) values (2)").await;
                    assert_eq!(bed.visible().await?, [1]);
                }
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
    }
}

case! {
    z_15 on postgres, mysql; pool = 1;
    "a savepoint scope that fails before its first statement sends no ROLLBACK TO";
    async fn<B>(bed, proxy) {
        warm(bed, proxy).await;
        bed.db
            .transaction(async || {
                bed.insert(1).await?;
                let inner = bed.db.savepoint(async || Err::<(), _>(Error::OutsideScope)).await;
                assert!(matches!(inner, Err(Error::OutsideScope)), "{inner:?}");
                Ok::<_, Error>(bed.insert(2).await?)
            })
            .await
            .unwrap();
        assert_eq!(proxy.events(), [(0, "BEGIN"), (0, "COMMIT")]);
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    z_16 on postgres; pool = 1;
    "a lock of the transaction is a statement of it: taken inside, free after its end";
    async fn<B>(bed) {
        // A lock that is free is taken and, outside of a transaction, given back at once.
        let free = "select pg_try_advisory_xact_lock(7)::int";
        bed.db
            .transaction(async || {
                B::exec(&bed.db, "select pg_advisory_xact_lock(7)").await?;
                B::exec(&bed.db, "set local lock_timeout = '7s'").await?;
                assert_eq!(bed.control_ints(free).await, [0]);
                assert_eq!(B::texts(&bed.db, "show lock_timeout").await?, ["7s"]);
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        assert_eq!(bed.control_ints(free).await, [1]);
        bed.db
            .transaction(async || {
                assert_eq!(B::texts(&bed.db, "show lock_timeout").await?, ["0"]);
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
    }
}
