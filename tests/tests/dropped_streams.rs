//! Row streams that are dropped half-way: their connection goes on, and their locks wait for them.

use std::time::Duration;

use futures_util::StreamExt as _;
use sqlx::Executor as _;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tx_runtime::{Error, Propagation, TransactionOptions};
use tx_tests::case;

/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_mins(1);

/// What happens at all has happened by then.
const A_WHILE: Duration = Duration::from_millis(500);

fn outside() -> TransactionOptions {
    TransactionOptions::new().propagation(Propagation::NotSupported)
}

case! {
    behind_its_summary on sqlite, postgres, mysql; pool = 1;
    "a stream that is dropped when it has given its summary leaves a connection that goes on";
    async fn<B>(bed) {
        let scope = bed.db.transaction(async || {
            let mut steps = (&bed.db).fetch_many("insert into t (id) values (1)");
            steps.next().await.expect("a summary")?;
            drop(steps);
            Ok::<_, Error>(bed.insert(2).await?)
        });
        timeout(PATIENCE, scope).await.expect("the next statement is answered").unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    behind_its_summary_in_autocommit on sqlite, postgres, mysql; pool = 1;
    "so it is in autocommit, where the connection goes back to the pool";
    async fn<B>(bed) {
        bed.db.transaction_with(outside(), async || {
            let mut steps = (&bed.db).fetch_many("insert into t (id) values (1)");
            steps.next().await.expect("a summary")?;
            Ok::<_, Error>(())
        }).await.unwrap();
        let next = timeout(PATIENCE, bed.db.transaction(async || Ok::<_, Error>(bed.insert(2).await?)));
        next.await.expect("the pool has its connection").unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    under_a_lock on postgres, mysql;
    "a lock opens after the statement of a stream in autocommit that was dropped under it";
    async fn<B>(bed) {
        // It keeps the statement from ending until that is wanted.
        let mut in_the_way = bed.db.pool().begin().await.unwrap();
        B::exec(B::on(&mut in_the_way), "insert into t (id) values (1)").await.unwrap();
        let (say, dropped) = oneshot::channel();
        let mut scope = Box::pin(bed.db.transaction_with(TransactionOptions::new().lock("k"), async || {
            bed.db.transaction_with(outside(), async || {
                let mut rows = (&bed.db).fetch("/* late */ insert into t (id) values (1)");
                while !bed.server_view().await.contains("/* late */") {
                    let read = timeout(Duration::from_millis(10), rows.next()).await;
                    assert!(read.is_err(), "it is dropped in mid-flight");
                }
                Ok::<_, Error>(())
            }).await?;
            say.send(()).expect("somebody waits");
            Ok::<_, Error>(())
        }));
        tokio::select! {
            biased;
            () = async { dropped.await.expect("the stream is dropped") } => {}
            told = &mut scope => panic!("the lock is open, and the row not written: {told:?}"),
        }
        // That something does not happen is no event; a machine that is slow only sees less.
        let told = timeout(A_WHILE, &mut scope).await;
        assert!(told.is_err(), "the lock is open, and the row not written: {told:?}");

        in_the_way.rollback().await.unwrap();
        scope.await.unwrap();
        // As another process would.
        bed.take_lock("k").await;
        assert_eq!(bed.rows().await, [1]);
        bed.open_lock("k").await;
    }
}
