//! Row streams that are dropped half-way: their connection goes on, and their locks wait for them.

use std::time::Duration;

use futures_util::StreamExt as _;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::time::timeout;
use tx_runtime::{Error, Propagation, TransactionOptions};
use tx_tests::{Backend, case};

/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a statement takes that is to be dropped in its middle.
const SECONDS: u64 = 2;

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

/// Inserts the row 1, and takes so long that it ends after its drop.
fn late_insert<B: Backend>() -> String {
    match B::LABEL {
        "postgres" => format!("insert into t (id) select 1 from pg_sleep({SECONDS})"),
        _ => format!("insert into t (id) select 1 from (select sleep({SECONDS})) as late"),
    }
}

case! {
    under_a_lock on postgres, mysql;
    "a lock opens after the statement of a stream in autocommit that was dropped under it";
    async fn<B>(bed) {
        let outer = TransactionOptions::new().lock("k");
        bed.db.transaction_with(outer, async || {
            bed.db.transaction_with(outside(), async || {
                let mut rows = (&bed.db).fetch(AssertSqlSafe(late_insert::<B>()));
                while !bed.server_view().await.contains("sleep(") {
                    let read = timeout(Duration::from_millis(10), rows.next()).await;
                    assert!(read.is_err(), "it is dropped in mid-flight");
                }
                Ok::<_, Error>(())
            }).await
        }).await.unwrap();
        // As another process would.
        bed.take_lock("k").await;
        assert_eq!(bed.rows().await, [1]);
        bed.open_lock("k").await;
    }
}
