//! The harness itself: each tool works, and each can fail.

use std::time::Duration;

use sqlx::{MySql, Postgres, Sqlite};
use tx_runtime::Error;
use tx_tests::{Backend, Bed, Shape, pending_once, poll_n};

/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_mins(1);

/// For a pool that will not settle, however long one waits.
const HASTE: Duration = Duration::from_secs(3);

/// One test per database, of a function generic over it.
macro_rules! on {
    ($test:ident: $($name:ident = $database:ty),+) => {
        mod $test {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$test::<$database>().await;
            })+
        }
    };
}

on!(a_bed_sees_from_outside: sqlite = Sqlite, postgres = Postgres, mysql = MySql);
async fn a_bed_sees_from_outside<B: Backend>() {
    for bed in [Bed::<B>::new().await, Bed::connected(2).await] {
        let Some(bed) = bed else { return };
        bed.db
            .transaction(async || {
                bed.insert(1).await?;
                assert_eq!(bed.visible().await?, [1]);
                assert!(bed.rows().await.is_empty());
                if B::LABEL != "postgres" {
                    assert!(!bed.free(1).await);
                }
                assert_eq!(bed.pid().await?, bed.pid().await?);
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        assert_eq!(bed.rows().await, [1]);
        assert!(bed.free(1).await);
        bed.db
            .transaction(async || {
                B::exec(&bed.db, "update t set v = 'x' where id = 1").await?;
                assert!(!bed.free(1).await);
                assert_eq!(B::texts(&bed.db, "select v from t").await?, ["x"]);
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        assert!(bed.insert(2).await.is_err(), "outside of any scope");
        bed.assert_clean().await;
        bed.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_in_the_pool_is_seen() {
    // Together, since each waits for its time limit.
    tokio::join!(
        open_transaction_in_the_pool_is_seen::<Sqlite>(),
        open_transaction_in_the_pool_is_seen::<Postgres>(),
        open_transaction_in_the_pool_is_seen::<MySql>()
    );
}
async fn open_transaction_in_the_pool_is_seen<B: Backend>() {
    let Some(bed) = Bed::<B>::new().await else {
        return;
    };
    assert_eq!(bed.open_transactions().await, 0);
    // The evil: BEGIN behind sqlx's back, and the connection goes back.
    let mut connection = bed.db.pool().acquire().await.unwrap();
    B::raw(B::on(&mut connection), "BEGIN").await.unwrap();
    drop(connection);
    // The pool tells nobody when a connection is back.
    let back = async {
        while bed.db.pool().num_idle() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    assert_eq!(bed.open_transactions().await, 1);
    let bed = bed.settling_within(HASTE);
    let clean = tokio::spawn(async move { bed.assert_clean().await });
    let panic = clean.await.unwrap_err().into_panic();
    let wrong = panic.downcast::<String>().unwrap();
    assert!(
        wrong.contains("1 connection(s) inside a transaction"),
        "{wrong}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_connection_is_seen() {
    // Together, since each waits for a time limit.
    tokio::join!(
        missing_connection_is_seen::<Sqlite>(),
        missing_connection_is_seen::<Postgres>(),
        missing_connection_is_seen::<MySql>()
    );
}
async fn missing_connection_is_seen<B: Backend>() {
    let Some(bed) = Bed::<B>::new().await else {
        return;
    };
    let kept = bed.db.pool().acquire().await.unwrap();
    let bed = bed.settling_within(HASTE);
    let wrong = bed.clean().await.unwrap_err();
    assert!(wrong.contains("not every connection is back"), "{wrong}");
    drop(kept);
    bed.settling_within(PATIENCE).assert_clean().await;
}

on!(the_wire_can_be_read: postgres = Postgres, mysql = MySql);
async fn the_wire_can_be_read<B: Backend>() {
    let Some((bed, proxy)) = Bed::<B>::proxied(1, Shape::WHOLE).await else {
        return;
    };
    for cold in [true, false] {
        proxy.clear();
        bed.db
            .transaction(async || {
                B::ints(&bed.db, "select id from t where id = 7").await?;
                bed.db
                    .savepoint(async || Ok::<_, Error>(bed.visible().await.map(drop)?))
                    .await?;
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        let log = proxy.log();
        let count = |text: &str| log.iter().filter(|(_, it)| it == text).count();
        assert_eq!(count("select id from t where id = 7"), 1, "{log:#?}");
        let prepares = count("PREPARE select id from t where id = 7");
        assert_eq!(prepares, usize::from(cold), "{log:#?}");
        let events: Vec<_> = proxy.events().into_iter().map(|(_, event)| event).collect();
        assert_eq!(
            events,
            ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"],
            "{log:#?}"
        );
        assert!(proxy.executed().len() >= 4);
        assert!(proxy.round_trips() >= 4);
    }
    bed.assert_clean().await;
    let ping = if B::LABEL == "mysql" { "PING" } else { "SYNC" };
    assert!(proxy.log().iter().any(|(_, it)| it == ping));
}

on!(round_trips_are_counted: postgres = Postgres, mysql = MySql);
async fn round_trips_are_counted<B: Backend>() {
    let Some((bed, proxy)) = Bed::<B>::proxied(1, Shape::WHOLE).await else {
        return;
    };
    let mut connection = bed.db.pool().acquire().await.unwrap();
    let sql = "select id from t where id = 7";
    for expected in [2, 1] {
        proxy.clear();
        B::ints(B::on(&mut connection), sql).await.unwrap();
        assert_eq!(proxy.round_trips(), expected, "{:#?}", proxy.log());
    }
    proxy.clear();
    B::raw(B::on(&mut connection), "BEGIN; COMMIT")
        .await
        .unwrap();
    assert_eq!(proxy.round_trips(), 1);
    assert_eq!(proxy.executed().len(), 1);
}

on!(an_answer_can_be_lost: postgres = Postgres, mysql = MySql);
async fn an_answer_can_be_lost<B: Backend>() {
    let Some((bed, proxy)) = Bed::<B>::proxied(2, Shape::WHOLE).await else {
        return;
    };
    let trap = proxy.cut_after("COMMIT");
    let lost = bed
        .db
        .transaction(async || Ok::<_, Error>(bed.insert(1).await?))
        .await;
    assert_eq!(lost.is_ok(), B::TELLS_FATES, "{lost:?}");
    assert!(trap.has_sprung());
    assert_eq!(bed.rows().await, [1], "the server had committed");
    let trap = proxy.cut_before("COMMIT");
    let lost = bed
        .db
        .transaction(async || Ok::<_, Error>(bed.insert(2).await?))
        .await;
    assert!(lost.is_err());
    assert!(trap.has_sprung());
    assert_eq!(bed.rows().await, [1], "the server had not seen COMMIT");
    bed.assert_clean().await;
}

on!(a_message_can_be_held: postgres = Postgres, mysql = MySql);
async fn a_message_can_be_held<B: Backend>() {
    let Some((bed, proxy)) = Bed::<B>::proxied(2, Shape::WHOLE).await else {
        return;
    };
    for (id, before) in [(1, true), (2, false)] {
        let trap = if before {
            proxy.hold_before("COMMIT")
        } else {
            proxy.hold_after("COMMIT")
        };
        let scope = bed
            .db
            .transaction(async || Ok::<_, Error>(bed.insert(id).await?));
        let watch = async {
            trap.sprung().await;
            assert_eq!(bed.rows().await.contains(&id), !before);
            trap.release();
        };
        let (scope, ()) = tokio::join!(scope, watch);
        scope.unwrap();
        assert!(bed.rows().await.contains(&id));
    }
    bed.assert_clean().await;
}

on!(answers_can_be_slow: postgres = Postgres, mysql = MySql);
async fn answers_can_be_slow<B: Backend>() {
    let shape = Shape::pieces(3, Duration::from_micros(200));
    let Some((bed, _proxy)) = Bed::<B>::proxied(2, shape).await else {
        return;
    };
    bed.db
        .transaction(async || Ok::<_, Error>(bed.insert(1).await?))
        .await
        .unwrap();
    bed.assert_clean().await;
}

on!(a_killed_connection_is_replaced: postgres = Postgres, mysql = MySql);
async fn a_killed_connection_is_replaced<B: Backend>() {
    let Some(bed) = Bed::<B>::new().await else {
        return;
    };
    let killed = bed.db.transaction(async || {
        bed.insert(1).await?;
        bed.kill(bed.pid().await?).await;
        Ok(bed.insert(2).await?)
    });
    let killed: Result<(), Error> = killed.await;
    killed.unwrap_err();
    assert!(bed.rows().await.is_empty());
    bed.assert_clean().await;
}

#[tokio::test]
async fn a_future_is_dropped_at_its_nth_pending() {
    let work = async || {
        pending_once().await;
        pending_once().await;
        7
    };
    assert_eq!(poll_n(work(), 0).await, (None, 0));
    assert_eq!(poll_n(work(), 1).await, (None, 1));
    assert_eq!(poll_n(work(), 2).await, (None, 2));
    assert_eq!(poll_n(work(), 3).await, (Some(7), 3));
    assert_eq!(poll_n(work(), 9).await, (Some(7), 3));
}

tx_tests::case! {
    h_01 on sqlite, postgres, mysql;
    "a case has a bed and is checked at its end";
    async fn<B>(bed) {
        assert_eq!(B::int(B::pool(bed.db.pool()), "select 1").await.unwrap(), 1);
        assert!(bed.rows().await.is_empty());
    }
}

tx_tests::case! {
    h_02 on postgres, mysql; pool = 1;
    "a case can read the wire";
    async fn<B>(bed, proxy) {
        bed.db.transaction(async || Ok::<_, Error>(bed.insert(1).await?)).await.unwrap();
        assert_eq!(proxy.events(), [(0, "BEGIN"), (0, "COMMIT")]);
    }
}

tx_tests::case! {
    h_03 on sqlite, postgres, mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.autocommit_outside_scopes(true));
    "a case can build its own bed";
    async fn<B>(bed) {
        bed.insert(1).await.unwrap();
        assert_eq!(bed.rows().await, [1]);
    }
}
