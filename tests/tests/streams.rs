//! Row streams that are still open when their transaction does something else, and every
//! form in which sqlx takes a statement.
//!
//! Each test is stamped out with the driver's own types, since that is how services call.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::{
    AssertSqlSafe, Either, Execute as _, Executor as _, FromRow, QueryBuilder, Row as _,
    SqlSafeStr as _, Statement as _,
};
use tokio::time::timeout;
use tx_runtime::{CauseKind, Error, TransactionOptions};
use tx_tests::{Backend, Bed};

/// A stream that gets stuck would stay so for ever.
const LIMIT: Duration = Duration::from_mins(2);

/// How long a statement waits behind a stream that nobody reads on: one test waits for that.
const TURN: Duration = Duration::from_secs(5);

async fn run<B: Backend>(body: impl AsyncFnOnce(&Arc<Bed<B>>)) {
    let bed = Bed::<B>::build(|pool| pool.acquire_timeout(TURN), |builder| builder);
    let Some(bed) = bed.await else {
        return;
    };
    let bed = Arc::new(bed);
    timeout(LIMIT, body(&bed)).await.expect("the body hangs");
    timeout(LIMIT, bed.assert_clean())
        .await
        .expect("the clean-up hangs");
    if let Some(bed) = Arc::into_inner(bed) {
        bed.finish().await;
    }
}

/// The tests as one macro that each database's module expands.
macro_rules! tests {
    ($(async fn $name:ident($bed:ident) $body:block)+) => {
        macro_rules! stamp {
            ($driver:ty) => {
                use super::*;

                type DB = $driver;

                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    run::<DB>(async |$bed| $body).await;
                })+
            };
        }
    };
}

/// Stores the rows 1 to `count`, committed.
async fn fill<B: Backend>(bed: &Bed<B>, count: i64) {
    let rows: Vec<_> = (1..=count).map(|id| format!("({id})")).collect();
    let sql = format!("insert into t (id) values {}", rows.join(", "));
    bed.control_raw(&sql).await;
}

async fn insert<B: Backend>(bed: &Bed<B>, id: i64) -> Result<(), Error> {
    Ok(bed.insert(id).await?)
}

const IDS: &str = "select id from t order by id";

/// 160 000 rows out of 400.
const MANY: &str = "select a.id from t a cross join t b";

/// Fails at row 500, and not before it is run, on every database.
const FAILS_AT_500: &str = "
    select case when id = 500 then abs(-9223372036854775307 - id - 1) else id end
    from t order by id";

#[derive(FromRow, Debug, PartialEq)]
struct Line {
    id: i64,
    v: Option<String>,
}

tests! {
    async fn thousand_rows_with_an_insert_after_each(bed) {
        fill(bed, 1000).await;
        bed.db.transaction(async || {
            let mut rows = sqlx::query_scalar::<DB, i64>(IDS).fetch(&bed.db);
            let mut expected = 1;
            while let Some(id) = rows.try_next().await? {
                assert_eq!(id, expected);
                expected += 1;
                // One text for all: closing a thousand cached statements takes its time.
                QueryBuilder::<DB>::new("insert into t (id) values (")
                    .push_bind(10_000 + id)
                    .push(")")
                    .build()
                    .execute(&bed.db)
                    .await?;
            }
            assert_eq!(expected, 1001);
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await.len(), 2000);
    }

    async fn two_streams_side_by_side(bed) {
        fill(bed, 1000).await;
        bed.db.transaction(async || {
            let up = sqlx::query_scalar::<DB, i64>(IDS).fetch(&bed.db);
            let down = sqlx::query_scalar::<DB, i64>("select id from t order by id desc")
                .fetch(&bed.db);
            let pairs: Vec<_> = up.zip(down).collect().await;
            assert_eq!(pairs.len(), 1000);
            for (row, (up, down)) in (1..).zip(pairs) {
                assert_eq!((up?, down?), (row, 1001 - row));
            }
            Ok::<_, Error>(())
        }).await.unwrap();
    }

    async fn two_streams_in_turn(bed) {
        fill(bed, 1000).await;
        bed.db.transaction(async || {
            let mut up = sqlx::query_scalar::<DB, i64>(IDS).fetch(&bed.db);
            let mut down = sqlx::query_scalar::<DB, i64>("select id from t order by id desc")
                .fetch(&bed.db);
            for row in 1..=1000 {
                assert_eq!(up.try_next().await?, Some(row));
                assert_eq!(down.try_next().await?, Some(1001 - row));
            }
            assert_eq!((up.try_next().await?, down.try_next().await?), (None, None));
            Ok::<_, Error>(())
        }).await.unwrap();
    }

    async fn polled_once_and_left(bed) {
        fill(bed, 1000).await;
        // With BEGIN still to be sent, and after it.
        for begun in [false, true] {
            let left = bed.db.transaction(async || {
                if begun {
                    bed.visible().await?;
                }
                let mut rows = sqlx::query_scalar::<DB, i64>(IDS).fetch(&bed.db);
                let first = futures_util::poll!(rows.next());
                insert(bed, 2000 + i64::from(begun)).await?;
                let rest: Vec<i64> = rows.try_collect().await?;
                let taken = usize::from(first.is_ready());
                assert_eq!(rest[..999], (1..=1000).collect::<Vec<_>>()[taken..taken + 999]);
                Ok(())
            });
            // A stream that nobody polls may hold the turn; then that is said, in time.
            let left = left.await;
            assert!(matches!(left, Ok(()) | Err(Error::TurnTimeout { .. })), "{left:?}");
        }
    }

    async fn two_streams_read_by_two_branches(bed) {
        fill(bed, 1000).await;
        bed.db.transaction(async || {
            let sum = async || {
                let mut sum = 0;
                let mut rows = sqlx::query_scalar::<DB, i64>(IDS).fetch(&bed.db);
                while let Some(id) = rows.try_next().await? {
                    sum += id;
                    tokio::task::yield_now().await;
                }
                Ok::<_, Error>(sum)
            };
            let (a, b, c) = tokio::join!(sum(), sum(), insert(bed, 2000));
            c?;
            // The third branch's row is seen by those that started after it.
            for sum in [a?, b?] {
                assert!(matches!(sum, 500_500 | 502_500), "{sum}");
            }
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await.len(), 1001);
    }

    async fn dropped_half_way(bed) {
        fill(bed, 1000).await;
        for (id, taken) in [(2001, 0), (2002, 1), (2003, 500), (2004, 1000)] {
            bed.db.transaction(async || {
                let mut rows = sqlx::query_scalar::<DB, i64>(IDS).fetch(&bed.db);
                for expected in 1..=taken {
                    assert_eq!(rows.try_next().await?, Some(expected));
                }
                if taken == 0 {
                    // Polled once, with whatever comes of it.
                    let _ = futures_util::poll!(rows.next());
                }
                drop(rows);
                insert(bed, id).await?;
                assert_eq!(bed.visible().await?.last(), Some(&id));
                Ok::<_, Error>(())
            }).await.unwrap();
        }
        assert_eq!(bed.rows().await.len(), 1004);
    }

    async fn dropped_half_way_and_committed_at_once(bed) {
        fill(bed, 1000).await;
        bed.db.transaction(async || {
            insert(bed, 2000).await?;
            let mut rows = sqlx::query_scalar::<DB, i64>(IDS).fetch(&bed.db);
            assert_eq!(rows.try_next().await?, Some(1));
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await.len(), 1001);
    }

    async fn kept_beyond_its_scope(bed) {
        fill(bed, 1000).await;
        for (id, fails) in [(2001, false), (2002, true)] {
            let mut rows = None;
            let scope = bed.db.transaction(async || {
                insert(bed, id).await?;
                let rows = rows.insert(sqlx::query_scalar::<DB, i64>(IDS).fetch(&bed.db));
                for expected in 1..=10 {
                    assert_eq!(rows.try_next().await?, Some(expected));
                }
                if fails { Err(Error::OutsideScope) } else { Ok(()) }
            });
            assert_eq!(scope.await.is_err(), fails);
            // The end of the scope came in between like any other statement.
            let rest: Vec<i64> = rows.unwrap().try_collect().await.unwrap();
            assert_eq!(rest[..990], (11..=1000).collect::<Vec<_>>());
            assert_eq!(bed.rows().await.last(), Some(&2001));
        }
    }

    async fn never_read_before_its_scope_ended(bed) {
        fill(bed, 3).await;
        let mut rows = bed.db.transaction(async || {
            insert(bed, 4).await?;
            Ok::<_, Error>((&bed.db).fetch(IDS))
        }).await.unwrap();
        let refused = Error::from(rows.next().await.unwrap().unwrap_err());
        assert!(matches!(refused, Error::TransactionClosed { .. }), "{refused:?}");
        assert!(rows.next().await.is_none());
    }

    async fn an_error_in_the_middle(bed) {
        fill(bed, 1000).await;
        let told = bed.db.transaction(async || {
            insert(bed, 2000).await?;
            let mut rows = sqlx::query_scalar::<DB, i64>(FAILS_AT_500).fetch(&bed.db);
            let mut expected = 1;
            let failed = loop {
                match rows.next().await.expect("the error comes first") {
                    Ok(id) => assert_eq!(id, expected),
                    Err(failed) => break failed,
                }
                expected += 1;
            };
            assert!(expected <= 500, "{expected}");
            assert!(matches!(failed, sqlx::Error::Database(_)), "{failed:?}");
            assert!(rows.next().await.is_none());
            assert!(bed.db.is_rollback_only());
            let after = insert(bed, 2001).await.unwrap_err();
            assert!(matches!(after, Error::Doomed { .. }), "{after:?}");
            Ok(())
        });
        match told.await {
            Err(Error::UnexpectedRollback { cause, .. }) => {
                assert_eq!(cause.kind(), CauseKind::Statement);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(bed.rows().await.len(), 1000);
    }

    async fn an_error_behind_another_statement(bed) {
        fill(bed, 1000).await;
        let told = bed.db.transaction(async || {
            let mut rows = sqlx::query_scalar::<DB, i64>(FAILS_AT_500).fetch(&bed.db);
            let first = rows.next().await.unwrap();
            // It needs the connection, so the stream's error is found now.
            let insert = insert(bed, 2000).await;
            assert!(matches!(insert, Err(Error::Doomed { .. })), "{insert:?}");
            let mut rest = rows.collect::<Vec<_>>().await;
            rest.insert(0, first);
            let failed = rest.pop().unwrap();
            assert!(matches!(failed, Err(sqlx::Error::Database(_))), "{failed:?}");
            assert!(rest.iter().all(Result::is_ok));
            Ok(())
        });
        let told: Error = told.await.unwrap_err();
        assert!(matches!(told, Error::UnexpectedRollback { .. }), "{told:?}");
        assert_eq!(bed.rows().await.len(), 1000);
    }

    async fn an_error_inside_of_a_savepoint(bed) {
        fill(bed, 1000).await;
        bed.db.transaction(async || {
            insert(bed, 2000).await?;
            let failed = bed.db.savepoint(async || {
                insert(bed, 2001).await?;
                let rows = sqlx::query_scalar::<DB, i64>(FAILS_AT_500).fetch(&bed.db);
                Ok::<_, Error>(rows.try_collect::<Vec<_>>().await?)
            });
            let failed = failed.await;
            assert!(matches!(failed, Err(Error::Database(_))), "{failed:?}");
            insert(bed, 2002).await
        }).await.unwrap();
        assert_eq!(bed.rows().await[1000..], [2000, 2002]);
    }

    async fn fetch_all_in_the_middle(bed) {
        fill(bed, 1000).await;
        bed.db.transaction(async || {
            let mut rows = sqlx::query_scalar::<DB, i64>(IDS).fetch(&bed.db);
            for expected in 1..=500 {
                assert_eq!(rows.try_next().await?, Some(expected));
            }
            for _ in 0..2 {
                let all = sqlx::query_scalar::<DB, i64>(IDS).fetch_all(&bed.db).await?;
                assert_eq!(all.len(), 1000);
            }
            let rest: Vec<i64> = rows.try_collect().await?;
            assert_eq!(rest, (501..=1000).collect::<Vec<_>>());
            Ok::<_, Error>(())
        }).await.unwrap();
    }

    async fn a_savepoint_in_the_middle(bed) {
        fill(bed, 1000).await;
        bed.db.transaction(async || {
            let mut rows = sqlx::query_scalar::<DB, i64>(IDS).fetch(&bed.db);
            assert_eq!(rows.try_next().await?, Some(1));
            for (id, fails) in [(2001, false), (2002, true), (2003, false)] {
                let nested = bed.db.savepoint(async || {
                    insert(bed, id).await?;
                    // The outer stream may be read here as well.
                    assert_eq!(rows.try_next().await?, Some(id - 1999));
                    if fails { Err(Error::OutsideScope) } else { Ok(()) }
                });
                assert_eq!(nested.await.is_err(), fails);
            }
            let rest: Vec<i64> = rows.try_collect().await?;
            assert_eq!(rest, (5..=1000).collect::<Vec<_>>());
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await[1000..], [2001, 2003]);
    }

    async fn a_savepoints_stream_beyond_its_end(bed) {
        fill(bed, 1000).await;
        bed.db.transaction(async || {
            let mut rows = None;
            bed.db.savepoint(async || {
                insert(bed, 2000).await?;
                let rows = rows.insert(sqlx::query_scalar::<DB, i64>(IDS).fetch(&bed.db));
                assert_eq!(rows.try_next().await?, Some(1));
                Ok::<_, Error>(())
            }).await?;
            insert(bed, 2001).await?;
            let rest: Vec<i64> = rows.unwrap().try_collect().await?;
            assert_eq!(rest.len(), 1000);
            assert_eq!(rest.last(), Some(&2000));
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.rows().await[1000..], [2000, 2001]);
    }

    async fn more_unread_rows_than_are_kept(bed) {
        fill(bed, 400).await;
        bed.db.transaction(async || {
            let mut rows = sqlx::query_scalar::<DB, i64>(MANY).fetch(&bed.db);
            rows.try_next().await?.unwrap();
            insert(bed, 2000).await?;
            let mut read = 1;
            let cut = loop {
                match rows.next().await.expect("the error comes before the end") {
                    Ok(_) => read += 1,
                    Err(cut) => break cut.to_string(),
                }
            };
            assert!((100_000..110_000).contains(&read), "{read}");
            assert!(cut.contains("more than 100000 unread rows"), "{cut}");
            assert!(rows.next().await.is_none());
            insert(bed, 2001).await
        }).await.unwrap();
        assert_eq!(bed.rows().await[400..], [2000, 2001]);
    }

    async fn as_many_rows_as_it_takes_when_they_are_read(bed) {
        fill(bed, 400).await;
        bed.db.transaction(async || {
            let rows = sqlx::query_scalar::<DB, i64>(MANY).fetch(&bed.db);
            let count = rows.try_fold(0, async |count, _| Ok(count + 1)).await?;
            assert_eq!(count, 160_000);
            Ok::<_, Error>(())
        }).await.unwrap();
    }

    async fn of_two_transactions_at_once(bed) {
        fill(bed, 1000).await;
        // Only a server reads in one transaction while another one writes.
        if !<DB as Backend>::SERVER {
            return;
        }
        let new = TransactionOptions::new().propagation(tx_runtime::Propagation::RequiresNew);
        bed.db.transaction(async || {
            let outer = sqlx::query_scalar::<DB, i64>(IDS).fetch(&bed.db);
            let mut outer = pin!(outer);
            assert_eq!(outer.try_next().await?, Some(1));
            bed.db.transaction_with(new, async || {
                let mut inner = sqlx::query_scalar::<DB, i64>(IDS).fetch(&bed.db);
                for expected in 1..=500 {
                    assert_eq!(inner.try_next().await?, Some(expected));
                    assert_eq!(outer.try_next().await?, Some(expected + 1));
                }
                insert(bed, 2000).await
            }).await?;
            let rest: Vec<i64> = outer.try_collect().await?;
            assert_eq!(rest, (502..=1000).collect::<Vec<_>>());
            Ok::<_, Error>(())
        }).await.unwrap();
    }

    async fn every_call_form_joins_the_transaction(bed) {
        async fn every_form_writes(bed: &Bed<DB>) -> Result<(), Error> {
            let db = &bed.db;
            sqlx::query("insert into t (id) values (1)").execute(db).await?;
            QueryBuilder::<DB>::new("insert into t (id, v) ")
                .push_values([(2_i64, "two"), (3, "three")], |mut row, (id, v)| {
                    row.push_bind(id).push_bind(v);
                })
                .build()
                .execute(db)
                .await?;
            sqlx::raw_sql("insert into t (id) values (4); insert into t (id) values (5)")
                .execute(db)
                .await?;
            db.execute("insert into t (id) values (6)").await?;
            db.execute(AssertSqlSafe(format!("insert into t (id) values ({})", 7))).await?;
            let done: Vec<_> = db
                .execute_many(sqlx::raw_sql(
                    "insert into t (id) values (8); insert into t (id) values (9)",
                ))
                .try_collect()
                .await?;
            assert_eq!(done.iter().map(|done| done.rows_affected()).sum::<u64>(), 2);
            let insert = db
                .prepare("insert into t (id) values (10)".into_sql_str())
                .await?;
            insert.query().execute(db).await?;
            let tx = db.begin().await?;
            sqlx::query("insert into t (id) values (11)").execute(&tx).await?;
            tx.commit().await
        }

        async fn every_form_reads(bed: &Bed<DB>, written: &[i64]) -> Result<(), Error> {
            let db = &bed.db;
            let ids = sqlx::query(IDS).try_map(|row: <DB as sqlx::Database>::Row| row.try_get::<i64, _>(0));
            assert_eq!(ids.fetch_all(db).await?, written);
            let ids = sqlx::query(IDS).map(|row: <DB as sqlx::Database>::Row| row.get::<i64, _>(0));
            assert_eq!(ids.fetch(db).try_collect::<Vec<_>>().await?, written);

            let lines = "select id, v from t where id < 3 order by id";
            let two = Line { id: 2, v: Some("two".to_owned()) };
            let lines = sqlx::query_as::<DB, Line>(lines);
            assert_eq!(lines.fetch_all(db).await?, [Line { id: 1, v: None }, two]);
            let line = sqlx::query_as::<DB, Line>("select id, v from t where id = 3");
            assert_eq!(line.fetch_one(db).await?.v.as_deref(), Some("three"));

            let count = sqlx::query_scalar::<DB, i64>("select count(*) from t");
            assert_eq!(count.fetch_one(db).await?, 11);
            let none = sqlx::query_scalar::<DB, i64>("select id from t where id = 99");
            assert_eq!(none.fetch_optional(db).await?, None);

            let mut bound = QueryBuilder::<DB>::new("select id from t where id in (");
            let mut ids = bound.separated(", ");
            ids.push_bind(2_i64).push_bind(5_i64);
            bound.push(") order by id");
            let bound = bound.build_query_scalar::<i64>();
            assert!(bound.sql().as_str().contains("in ("));
            let mut bound = QueryBuilder::<DB>::new("select id, v from t where id = ");
            bound.push_bind(2_i64);
            let line = bound.build_query_as::<Line>().fetch_one(db).await?;
            assert_eq!(line.v.as_deref(), Some("two"));

            assert_eq!(db.fetch_all(IDS).await?.len(), 11);
            assert_eq!(db.fetch_one(IDS).await?.get::<i64, _>(0), 1);
            assert!(db.fetch_optional("select id from t where id = 99").await?.is_none());
            assert_eq!(db.fetch(IDS).count().await, 11);

            let (mut rows, mut ends) = (0, 0);
            let mut steps = sqlx::raw_sql("select id from t; select id from t").fetch_many(db);
            while let Some(step) = steps.try_next().await? {
                match step {
                    Either::Left(_) => ends += 1,
                    Either::Right(_) => rows += 1,
                }
            }
            assert_eq!((rows, ends), (22, 2));

            let statement = db.prepare(IDS.into_sql_str()).await?;
            let ids = statement.query_scalar::<i64>();
            assert_eq!(ids.fetch_all(db).await?, written);
            assert_eq!(statement.query().fetch_all(db).await?.len(), 11);
            Ok(())
        }

        for commits in [false, true] {
            let scope = bed.db.transaction(async || {
                every_form_writes(bed).await?;
                let written: Vec<i64> = (1..=11).collect();
                assert_eq!(bed.visible().await?, written);
                assert!(bed.rows().await.is_empty(), "somebody has left the transaction");
                every_form_reads(bed, &written).await?;
                if commits { Ok(()) } else { Err(Error::OutsideScope) }
            });
            assert_eq!(scope.await.is_ok(), commits);
            assert_eq!(bed.rows().await.len(), if commits { 11 } else { 0 });
        }
    }

    async fn every_call_form_is_refused_outside(bed) {
        let db = &bed.db;
        let refused = |result: Result<(), sqlx::Error>| {
            let error = Error::from(result.unwrap_err());
            assert!(matches!(error, Error::OutsideScope), "{error:?}");
        };
        refused(sqlx::query(IDS).execute(db).await.map(drop));
        refused(sqlx::query_as::<DB, Line>(IDS).fetch_all(db).await.map(drop));
        refused(sqlx::query_scalar::<DB, i64>(IDS).fetch_one(db).await.map(drop));
        refused(sqlx::query_scalar::<DB, i64>(IDS).fetch_optional(db).await.map(drop));
        refused(sqlx::query(IDS).fetch(db).try_next().await.map(drop));
        refused(sqlx::raw_sql(IDS).execute(db).await.map(drop));
        refused(sqlx::raw_sql(IDS).fetch_many(db).try_next().await.map(drop));
        refused(db.execute(IDS).await.map(drop));
        refused(db.execute_many(IDS).try_next().await.map(drop));
        refused(db.prepare(IDS.into_sql_str()).await.map(drop));
        assert_eq!(db.pool().size(), 0);
    }
}

mod sqlite {
    stamp!(sqlx::Sqlite);

    /// Never ends; SQLite makes rows as they are asked for.
    const ENDLESS: &str = "
        with recursive n (i) as (select 1 union all select i + 1 from n) select i from n";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn endless_and_dropped() {
        run::<DB>(async |bed| {
            // Who waits for its end waits until the test does not.
            bed.db
                .transaction(async || {
                    let rows = sqlx::query_scalar::<DB, i64>(ENDLESS).fetch(&bed.db);
                    let first: Vec<i64> = rows.take(10).try_collect().await?;
                    assert_eq!(first, (1..=10).collect::<Vec<_>>());
                    insert(bed, 1).await?;
                    // And once more, with nothing but the commit after it.
                    let mut rows = sqlx::query_scalar::<DB, i64>(ENDLESS).fetch(&bed.db);
                    assert_eq!(rows.try_next().await?, Some(1));
                    Ok::<_, Error>(())
                })
                .await
                .unwrap();
            assert_eq!(bed.rows().await, [1]);
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn endless_and_open() {
        run::<DB>(async |bed| {
            bed.db
                .transaction(async || {
                    let mut rows = sqlx::query_scalar::<DB, i64>(ENDLESS).fetch(&bed.db);
                    assert_eq!(rows.try_next().await?, Some(1));
                    insert(bed, 1).await?;
                    let cut = rows.try_fold(0, async |count, _| Ok(count + 1)).await;
                    let cut = cut.unwrap_err().to_string();
                    assert!(cut.contains("unread rows"), "{cut}");
                    Ok::<_, Error>(())
                })
                .await
                .unwrap();
            assert_eq!(bed.rows().await, [1]);
        })
        .await;
    }
}

mod postgres {
    stamp!(sqlx::Postgres);
}

mod mysql {
    stamp!(sqlx::MySql);
}
