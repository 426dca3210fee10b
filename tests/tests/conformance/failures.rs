//! What goes wrong in BEGIN, COMMIT, ROLLBACK and on the connection, and what it is called.

use std::any::Any;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::encode::IsNull;
use sqlx::error::{BoxDynError, DatabaseError};
use sqlx::pool::PoolOptions;
use sqlx::{Database, Encode, Executor as _, Type};
use tx_runtime::{
    CauseKind, Db, Error, Isolation, MySqlDb, Obstacle, Outcome, PgDb, Propagation, Retry,
    SqliteDb, TransactionOptions, Tx, transactional,
};
use tx_tests::{Backend, Bed, Lay, Proxy, case};

/// The error of a service.
#[derive(Debug)]
enum Refusal {
    Declined(u8),
    Tx(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Tx(error)
    }
}

async fn insert<B: Backend>(db: &Db<B>, id: i64) -> Result<(), Error> {
    let sql = format!("insert into t (id) values ({id})");
    Ok(B::exec(db, &sql).await.map(drop)?)
}

#[transactional(name = "add")]
async fn add<B: Backend>(db: &Db<B>, id: i64) -> Result<&'static str, Error> {
    insert(db, id).await?;
    Ok("added")
}

/// A child without a parent, which only COMMIT finds out.
#[transactional(name = "orphan")]
async fn orphan<B: Backend>(db: &Db<B>) -> Result<&'static str, Error> {
    B::exec(db, "insert into child (id, parent_id) values (1, 7)").await?;
    Ok("stored")
}

/// The database's code for a violated foreign key.
fn foreign_key_code<B: Backend>() -> &'static str {
    if B::SERVER { "23503" } else { "787" }
}

/// Waits, with a bound, until the pool has let its broken connection go; only asking tells.
async fn until_empty<B: Backend>(bed: &Bed<B>) {
    for _ in 0..500 {
        if bed.db.pool().size() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the broken connection is still in the pool");
}

fn assert_commit_refused<B: Backend>(error: &Error) {
    match error {
        Error::Commit {
            function, source, ..
        } => {
            let code = source.as_database_error().and_then(DatabaseError::code);
            assert_eq!(code.as_deref(), Some(foreign_key_code::<B>()));
            assert_eq!(function.name(), "orphan");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(error.outcome(), Outcome::RolledBack);
    assert!(!error.is_retryable());
}

case! {
    f_01 on sqlite, postgres, mysql;
    "without a pool the first statement fails, and so does the scope";
    async fn<B>(bed) {
        bed.db.pool().close().await;
        let failed = add(&bed.db, 1).await.unwrap_err();
        assert!(
            matches!(&failed, Error::Begin { source: sqlx::Error::PoolClosed, .. }),
            "{failed:?}"
        );
        assert!(failed.to_string().contains("`add`"), "{failed}");
        assert_eq!(failed.outcome(), Outcome::RolledBack);
        let swallowed = bed.db.transaction(async || {
            insert(&bed.db, 1).await.unwrap_err();
            Ok(())
        });
        match swallowed.await {
            Err(Error::UnexpectedRollback { cause, .. }) => {
                assert_eq!(cause.kind(), CauseKind::Begin);
            }
            other => panic!("{other:?}"),
        }
        assert!(!bed.db.is_in_transaction());
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    f_01_nobody_listens on postgres, mysql;
    "without a server the first statement fails, when the pool's time is up, and says why";
    async fn<B>(bed) {
        let port = {
            let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            free.local_addr().unwrap().port()
        };
        let pool = PoolOptions::<B>::new()
            .acquire_timeout(Duration::from_millis(500))
            .connect_lazy_with(B::through(bed.options().clone(), port));
        let failed = add(&Db::new(pool), 1).await.unwrap_err();
        let refused = |error: &Error| matches!(error, Error::Connect { obstacle: Obstacle::Refused, .. });
        assert!(refused(&failed), "{failed:?}");
        assert!(failed.is_retryable(), "{failed:?}");
    }
}

case! {
    f_02 on postgres, mysql; pool = 2;
    "a connection whose BEGIN was begun and not answered is closed, and replaced unseen";
    async fn<B>(bed, proxy) {
        // I-18
        for (id, isolation) in [(1, None), (2, Some(Isolation::Serializable))] {
            let trap = proxy.cut_after("BEGIN");
            let options = TransactionOptions::new();
            let options = isolation.map_or(options.clone(), |level| options.isolation(level));
            bed.db
                .transaction_with(options, async || insert(&bed.db, id).await)
                .await
                .unwrap();
            assert!(trap.has_sprung());
            let last = proxy.events().split_off(proxy.events().len() - 3);
            let [lost, begun, committed] = last.as_slice() else { unreachable!() };
            assert_eq!([lost.1, begun.1, committed.1], ["BEGIN", "BEGIN", "COMMIT"]);
            assert_ne!(lost.0, begun.0);
            assert_eq!(begun.0, committed.0);
        }
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    f_03 on sqlite, postgres;
    "a COMMIT that the server refuses is an error, and its code is told";
    async fn<B>(bed) {
        let refused = orphan(&bed.db).await.unwrap_err();
        assert_commit_refused::<B>(&refused);
        assert!(bed.control_ints("select id from child").await.is_empty());
        // So it is by hand.
        let tx = bed.db.begin_with(TransactionOptions::new().name("orphan")).await.unwrap();
        (&tx).execute("insert into child (id, parent_id) values (1, 7)").await.unwrap();
        assert_commit_refused::<B>(&tx.commit().await.unwrap_err());
        assert!(bed.control_ints("select id from child").await.is_empty());
    }
}

fn assert_unknown(error: &Error) {
    assert!(matches!(error, Error::CommitUnknown { .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("`add`"), "{error}");
}

/// It is certain that nothing is stored, although the server did not answer.
fn assert_not_stored(error: &Error) {
    assert!(matches!(error, Error::Commit { .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::RolledBack);
    assert!(error.is_retryable());
}

case! {
    f_04 on postgres, mysql; pool = 1;
    "a COMMIT lost on its way is told as rolled back where the server can say so, else as unknown";
    async fn<B>(bed, proxy) {
        let lays: [(&str, Lay); 2] =
            [("before", Proxy::cut_before), ("within", Proxy::cut_within)];
        for (place, lay) in lays {
            proxy.clear();
            let trap = lay(proxy, "COMMIT");
            let told = add(&bed.db, 1).await.unwrap_err();
            if B::TELLS_FATES { assert_not_stored(&told) } else { assert_unknown(&told) }
            assert!(trap.has_sprung(), "{place}");
            assert!(bed.rows().await.is_empty(), "{place}");
            assert_eq!(add(&bed.db, 1).await.unwrap(), "added");
            let events = proxy.events();
            let [lost, begun, committed] = events.as_slice() else { panic!("{events:?}") };
            assert_ne!(lost.0, begun.0, "the lost connection is not used again");
            assert_eq!(begun.0, committed.0);
            bed.control("delete from t").await;
        }
    }
}

case! {
    f_04_unanswered on postgres; pool = 1;
    "a server that does not notice that COMMIT will never come is told to give the transaction up";
    async fn<B>(bed, proxy) {
        let trap = proxy.swallow("COMMIT");
        let told = add(&bed.db, 1).await.unwrap_err();
        assert!(trap.has_sprung());
        assert_not_stored(&told);
        assert_eq!(bed.open_transactions().await, 0);
        assert!(bed.rows().await.is_empty());
        assert_eq!(add(&bed.db, 1).await.unwrap(), "added");
    }
}

case! {
    f_04_read_only on postgres, mysql; pool = 1;
    "a lost answer leaves no doubt about a transaction that could not write";
    async fn<B>(bed, proxy) {
        for lay in [Proxy::cut_before as Lay, Proxy::cut_after] {
            let trap = lay(proxy, "COMMIT");
            let read_only = TransactionOptions::new().read_only();
            let told = bed.db.transaction_with(read_only, async || Ok::<_, Error>(bed.visible().await?));
            assert_not_stored(&told.await.unwrap_err());
            assert!(trap.has_sprung());
        }
    }
}

case! {
    f_05 on postgres, mysql; pool = 1;
    "a COMMIT whose answer was lost is told as committed where the server can say so, else as unknown";
    async fn<B>(bed, proxy) {
        let lays: [(i64, Lay); 2] =
            [(1, Proxy::cut_after), (2, Proxy::cut_answering)];
        for (id, lay) in lays {
            let trap = lay(proxy, "COMMIT");
            let told = add(&bed.db, id).await;
            if B::TELLS_FATES {
                assert_eq!(told.unwrap(), "added");
            } else {
                assert_unknown(&told.unwrap_err());
            }
            assert!(trap.has_sprung());
        }
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    f_05_at_work on postgres; pool = 1;
    "the fate of a COMMIT that the server still works on is waited for";
    async fn<B>(bed, proxy) {
        bed.control_raw(
            "create function slow() returns trigger language plpgsql as
             $$ begin perform pg_advisory_xact_lock(17); return null; end $$;
             create constraint trigger slow after insert on t deferrable initially deferred
             for each row execute function slow();
             select pg_advisory_lock(17)",
        )
        .await;
        let trap = proxy.cut_during("COMMIT");
        let mut told = pin!(add(&bed.db, 1));
        tokio::select! {
            told = &mut told => panic!("it was told before it was known: {told:?}"),
            // It is asked for, in vain so far.
            () = async {
                trap.sprung().await;
                while !proxy.log().iter().any(|(_, sql)| sql.contains("pg_xact_status")) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            } => {}
        }
        assert!(bed.rows().await.is_empty());
        bed.control_raw("select pg_advisory_unlock(17)").await;
        assert_eq!(told.await.unwrap(), "added");
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    f_05_unreachable on postgres; bed = Bed::<B>::impatient(1);
    "what cannot be asked for in time stays unknown";
    async fn<B>(bed, proxy) {
        for (id, lay) in [(1, Proxy::cut_after as Lay), (2, Proxy::cut_before)] {
            let trap = lay(proxy, "COMMIT");
            let told = bed.db.transaction(async || {
                let told = insert(&bed.db, id).await;
                proxy.shut(true);
                told
            });
            let told = told.await.unwrap_err();
            proxy.shut(false);
            assert!(trap.has_sprung());
            assert!(matches!(told, Error::CommitUnknown { .. }), "{told:?}");
            assert_eq!(told.outcome(), Outcome::Unknown);
        }
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    f_05_ended on postgres; pool = 1;
    "an administrator who ends the connection while it commits has it told what became of that";
    async fn<B>(bed, proxy) {
        bed.control_raw(
            "create function ends() returns trigger language plpgsql as
             $$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
             create constraint trigger ends after insert on t deferrable initially deferred
             for each row execute function ends()",
        )
        .await;
        let told = add(&bed.db, 1).await.unwrap_err();
        assert_not_stored(&told);
        let Error::Commit { source, .. } = &told else { unreachable!() };
        let code = source.as_database_error().and_then(DatabaseError::code);
        assert_eq!(code.as_deref(), Some("57P01"));
        assert!(bed.rows().await.is_empty());
        // And so between two statements of the message.
        bed.control_raw("drop trigger ends on t").await;
        let trap = proxy.hold_before("COMMIT");
        let (told, ()) = tokio::join!(
            bed.db.transaction(async || {
                insert(&bed.db, 1).await?;
                Ok(bed.pid().await?)
            }),
            async {
                trap.sprung().await;
                let [pid] = bed.control_ints("select pid::bigint from pg_stat_activity where state = 'idle in transaction' and datname = current_database()").await[..] else {
                    panic!("one is in a transaction")
                };
                bed.kill(pid).await;
                trap.release();
            },
        );
        assert_not_stored(&told.unwrap_err());
        assert!(bed.rows().await.is_empty());
    }
}

/// On PostgreSQL, with a function in the way of the one that opens locks.
async fn obstructed<B: Backend>() -> Option<Bed<B>> {
    let pool = |pool: PoolOptions<B>| {
        pool.after_connect(|connection, _| {
            Box::pin(async move {
                if B::TELLS_FATES {
                    let path = "set search_path = obstacle, pg_catalog, public";
                    B::raw(B::on(connection), path).await?;
                }
                Ok(())
            })
        })
    };
    Bed::build(pool, |builder| builder).await
}

case! {
    f_05_behind on postgres, mysql; bed = obstructed::<B>();
    "a failure behind COMMIT in the same message does not pass for a refused COMMIT";
    async fn<B>(bed) {
        let work = async || {
            insert(&bed.db, 1).await?;
            if !B::TELLS_FATES {
                B::raw(&bed.db, "set @tx_work = 'no number'").await?;
            }
            Ok::<_, Error>("added")
        };
        let options = TransactionOptions::new().name("add");
        let told = if B::TELLS_FATES {
            bed.control_raw(
                "create schema obstacle;
                 create function obstacle.pg_advisory_unlock(bigint) returns boolean
                 language plpgsql as $$ begin raise 'obstructed'; end $$",
            )
            .await;
            let locked = options.isolation(Isolation::Serializable).lock("k");
            bed.db.transaction_with(locked, work).await
        } else {
            // Behind COMMIT the limits of the scope are undone.
            bed.db.transaction_with(options.timeout(Duration::from_mins(1)), work).await
        };
        if B::TELLS_FATES {
            assert_eq!(told.unwrap(), "added");
        } else {
            assert_unknown(&told.unwrap_err());
        }
        assert_eq!(bed.rows().await, [1]);
    }
}

/// A duplicate key whose error nobody looks at.
async fn swallows_a_duplicate<B: Backend>(bed: &Bed<B>) -> Result<(), Error> {
    bed.db
        .transaction(async || {
            bed.insert(1).await?;
            bed.insert(1).await.unwrap_err();
            Ok(())
        })
        .await
}

case! {
    f_06 on sqlite, postgres, mysql;
    "a swallowed statement error is told at the end, on every database alike";
    async fn<B>(bed) {
        match swallows_a_duplicate(bed).await {
            Err(Error::UnexpectedRollback { cause, .. }) => {
                assert_eq!(cause.kind(), CauseKind::Statement);
                let code = if B::SERVER { "23" } else { "1555" };
                assert!(cause.code().unwrap().starts_with(code), "{cause:?}");
            }
            other => panic!("{other:?}"),
        }
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    f_06_tolerant on postgres;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.tolerate_failed_statements(true));
    "PostgreSQL tolerates no failed statement, so the switch must not hide it";
    async fn<B>(bed) {
        // The evil: sqlx says Ok, and nothing is stored.
        let mut plain = bed.db.pool().begin().await.unwrap();
        B::exec(B::on(&mut plain), "insert into t (id) values (1)").await.unwrap();
        B::exec(B::on(&mut plain), "insert into t (id) values (1)").await.unwrap_err();
        plain.commit().await.unwrap();
        assert!(bed.rows().await.is_empty());

        let told = swallows_a_duplicate(bed).await.unwrap_err();
        assert!(matches!(told, Error::UnexpectedRollback { .. }), "{told:?}");
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    f_07 on postgres, mysql; pool = 2;
    "the body's own error stays the one that is told when ROLLBACK fails";
    async fn<B>(bed, proxy) {
        let body = async |kill: bool| {
            bed.db
                .transaction(async || {
                    insert(&bed.db, 1).await?;
                    if kill {
                        bed.kill(bed.pid().await.map_err(Error::from)?).await;
                    }
                    Err::<(), _>(Refusal::Declined(7))
                })
                .await
        };
        for lay in [None, Some(Proxy::cut_before as fn(&Proxy, &str) -> _), Some(Proxy::cut_after)] {
            let trap = lay.map(|lay| lay(proxy, "ROLLBACK"));
            let told = body(trap.is_none()).await;
            assert!(matches!(told, Err(Refusal::Declined(7))), "{told:?}");
            assert!(trap.is_none_or(|trap| trap.has_sprung()));
            until_empty(bed).await;
            assert!(bed.rows().await.is_empty());
        }
        let passed = bed.db.transaction(async || {
            insert(&bed.db, 1).await?;
            Ok::<_, Refusal>(())
        });
        if let Err(Refusal::Tx(error)) = passed.await {
            panic!("{error}");
        }
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    f_08 on postgres; pool = 1;
    "a refused COMMIT is told although the ROLLBACK after it fails too";
    async fn<B>(bed, proxy) {
        let trap = proxy.cut_before("ROLLBACK");
        let refused = orphan(&bed.db).await.unwrap_err();
        assert_commit_refused::<B>(&refused);
        assert!(trap.has_sprung());
        until_empty(bed).await;
        assert!(bed.control_ints("select id from child").await.is_empty());
    }
}

case! {
    f_08_ended_early on mysql; pool = 1;
    "an early end is told although the ROLLBACK after it fails too";
    async fn<B>(bed, proxy) {
        bed.control_raw("create procedure sneaky() commit").await;
        let trap = proxy.cut_before("ROLLBACK");
        let ended = bed.db.transaction(async || {
            insert(&bed.db, 1).await?;
            Ok(B::raw(&bed.db, "call sneaky()").await.map(drop)?)
        });
        let ended: Error = ended.await.unwrap_err();
        assert!(matches!(ended, Error::EndedEarly { .. }), "{ended:?}");
        assert!(trap.has_sprung());
        until_empty(bed).await;
    }
}

case! {
    f_09 on sqlite, postgres; pool = 1;
    "the connection of a refused COMMIT is clean and goes on";
    async fn<B>(bed) {
        let pid = async || bed.db.transaction(async || Ok::<_, Error>(bed.pid().await?)).await;
        let before = pid().await.unwrap();
        orphan(&bed.db).await.unwrap_err();
        let left = B::int(B::pool(bed.db.pool()), "select count(*) from child").await.unwrap();
        assert_eq!(left, 0, "autocommit finds no transaction on it");
        assert_eq!(pid().await.unwrap(), before);
        add(&bed.db, 2).await.unwrap();
        assert_eq!(bed.rows().await, [2]);
    }
}

case! {
    f_09_on_the_wire on postgres; pool = 1;
    "a refused COMMIT is followed by ROLLBACK before anything else";
    async fn<B>(bed, proxy) {
        orphan(&bed.db).await.unwrap_err();
        add(&bed.db, 2).await.unwrap();
        let events = proxy.events();
        let expected = [(0, "BEGIN"), (0, "COMMIT"), (0, "ROLLBACK"), (0, "BEGIN"), (0, "COMMIT")];
        assert_eq!(events, expected);
    }
}

case! {
    f_11 on postgres, mysql; pool = 2;
    "a connection that died under a statement is that statement's error, returned as it is";
    async fn<B>(bed) {
        let told = bed.db.transaction(async || {
            insert(&bed.db, 1).await?;
            bed.kill(bed.pid().await?).await;
            insert(&bed.db, 2).await
        });
        let told = told.await.unwrap_err();
        assert!(matches!(told, Error::Database(_)), "{told:?}");
        assert!(bed.rows().await.is_empty());
        add(&bed.db, 3).await.unwrap();
        assert_eq!(bed.rows().await, [3]);
    }
}

/// Compiles only for what takes the transaction away from its owner.
fn consumes<'t, B: Backend, F>(_: impl FnOnce(Tx<'t, B>) -> F) {}

case! {
    f_11_stale on postgres; pool = 1;
    "a prepared statement that a migration has made stale costs one attempt, and its connection";
    async fn<B>(bed) {
        const ALL: &str = "select * from t";
        let migrate = async |column: &str| {
            bed.control_raw(&format!("alter table t add column {column} int")).await;
        };
        let read = async || Ok::<_, Error>(B::ints(&bed.db, ALL).await?);

        // The evil: with plain sqlx the connection never gets over it.
        B::ints(B::pool(bed.db.pool()), ALL).await.unwrap();
        migrate("a").await;
        for _ in 0..3 {
            B::ints(B::pool(bed.db.pool()), ALL).await.unwrap_err();
        }

        let told = bed.db.transaction(read).await.unwrap_err();
        assert!(matches!(told, Error::Database(_)), "{told:?}");
        assert!(told.is_retryable());
        bed.db.transaction(read).await.unwrap();

        migrate("b").await;
        let pid = bed.db.transaction(async || Ok::<_, Error>(bed.pid().await?)).await.unwrap();
        bed.db.retrying(Retry::attempts(2), TransactionOptions::new(), read).await.unwrap();
        let now = bed.db.transaction(async || Ok::<_, Error>(bed.pid().await?)).await.unwrap();
        assert_ne!(pid, now);

        migrate("c").await;
        let autocommit = TransactionOptions::new().propagation(Propagation::NotSupported);
        bed.db.transaction_with(autocommit.clone(), read).await.unwrap_err();
        bed.db.transaction_with(autocommit, read).await.unwrap();
    }
}

case! {
    f_14 on sqlite, postgres, mysql; pool = 1;
    "a transaction is ended once, by its type; ended by no one, it rolls back";
    async fn<B>(bed) {
        consumes::<B, _>(Tx::commit);
        consumes::<B, _>(Tx::rollback);
        let end = async |id: i64, how: u8| {
            let tx = bed.db.begin().await?;
            tx.within(async || insert(&bed.db, id).await).await?;
            match how {
                0 => tx.commit().await,
                1 => tx.rollback().await,
                _ => {
 drop(tx);
Ok(())
}
            }
        };
        for (id, how) in [(1, 0), (2, 1), (3, 2), (4, 0)] {
            end(id, how).await.unwrap();
        }
        assert_eq!(bed.rows().await, [1, 4]);
        assert_eq!(bed.db.pool().size(), 1);
    }
}

/// A statement that was made in a scope and is not run before somebody awaits it.
type Late = BoxFuture<'static, Result<(), sqlx::Error>>;

fn late<B: Backend>(db: &'static Db<B>) -> Late {
    let statement = db.execute("insert into t (id) values (9)");
    Box::pin(async move { statement.await.map(drop) })
}

fn assert_closed(refused: Result<(), sqlx::Error>) {
    let refused = Error::from(refused.unwrap_err());
    assert!(
        matches!(refused, Error::TransactionClosed { .. }),
        "{refused:?}"
    );
}

case! {
    f_15 on postgres, mysql; pool = 1;
    "a statement of an ended scope is refused without a message to the server";
    async fn<B>(bed, proxy) {
        let db: &'static Db<B> = Box::leak(Box::new(bed.db.clone()));
        for fails in [false, true] {
            let mut left = None;
            let scope = db.transaction(async || {
                B::int(db, "select 1").await?;
                left = Some(late(db));
                if fails { Err(Error::OutsideScope) } else { Ok(()) }
            });
            assert_eq!(scope.await.is_err(), fails);
            let sent = proxy.executed().len();
            assert_closed(left.unwrap().await);
            assert_eq!(proxy.executed().len(), sent);
        }
        // An ended savepoint's statement does not harm the transaction around it.
        db.transaction(async || {
            insert(db, 1).await?;
            let left = db.savepoint(async || Ok::<_, Error>(late(db))).await?;
            assert_closed(left.await);
            insert(db, 2).await
        })
        .await
        .unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    f_16 on sqlite, postgres, mysql;
    "COMMIT, ROLLBACK and BEGIN in a scope are refused, and the scope rolls back";
    async fn<B>(bed) {
        for sql in ["COMMIT", "rollback", "BEGIN", "insert into t (id) values (2); commit"] {
            let told = bed.db.transaction(async || {
                insert(&bed.db, 1).await?;
                let refused = Error::from(B::raw(&bed.db, sql).await.unwrap_err());
                assert!(matches!(refused, Error::TransactionControl { .. }), "{sql}: {refused:?}");
                let after = insert(&bed.db, 3).await.unwrap_err();
                assert!(matches!(after, Error::Doomed { .. }), "{sql}: {after:?}");
                Ok(())
            });
            let told = told.await.unwrap_err();
            assert!(matches!(told, Error::UnexpectedRollback { .. }), "{sql}: {told:?}");
            assert!(bed.rows().await.is_empty(), "{sql}");
        }
    }
}

case! {
    f_16_hidden on mysql; pool = 1;
    "a COMMIT that a procedure hides is told at the end, and the outcome is unknown";
    async fn<B>(bed) {
        bed.control_raw("create procedure sneaky() commit").await;
        let ended = bed.db.transaction(async || {
            insert(&bed.db, 1).await?;
            B::raw(&bed.db, "call sneaky()").await?;
            insert(&bed.db, 2).await
        });
        let ended = ended.await.unwrap_err();
        assert!(matches!(ended, Error::EndedEarly { .. }), "{ended:?}");
        assert_eq!(ended.outcome(), Outcome::Unknown);
        assert!(!ended.is_retryable());
        assert_eq!(bed.rows().await, [1, 2], "what the server made of it");
    }
}

case! {
    f_16_quoted on sqlite, postgres, mysql;
    "the words of COMMIT inside of a string are a string";
    async fn<B>(bed) {
        let text = if B::LABEL == "postgres" { r"E'it\'s; commit'" } else { "'it''s; commit'" };
        bed.db.transaction(async || {
            insert(&bed.db, 1).await?;
            B::exec(&bed.db, &format!("update t set v = {text}")).await?;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(bed.control_texts("select v from t").await, ["it's; commit"]);
    }
}

case! {
    f_16_procedure on postgres; pool = 1;
    "PostgreSQL refuses a COMMIT that a procedure hides, and the scope rolls back";
    async fn<B>(bed) {
        bed.control_raw(
            "create procedure sneaky() language plpgsql as $$ begin commit; end $$",
        )
        .await;
        let told = bed.db.transaction(async || {
            insert(&bed.db, 1).await?;
            B::raw(&bed.db, "call sneaky()").await.unwrap_err();
            Ok(())
        });
        let told = told.await.unwrap_err();
        assert!(matches!(told, Error::UnexpectedRollback { .. }), "{told:?}");
        assert!(bed.rows().await.is_empty());
    }
}

/// SQLite's statement that rolls the whole transaction back when it fails.
const OR_ROLLBACK: &str = "insert or rollback into t (id) values (1)";

case! {
    f_16_or_rollback on sqlite;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.tolerate_failed_statements(true));
    "a failed statement that ended the transaction is told, even where failures are tolerated";
    async fn<B>(bed) {
        let told = bed.db.transaction(async || {
            insert(&bed.db, 1).await?;
            B::exec(&bed.db, OR_ROLLBACK).await.unwrap_err();
            // Whatever becomes of this, it must not be told to be all right.
            let _ = insert(&bed.db, 2).await;
            Ok(())
        });
        let told: Error = told.await.unwrap_err();
        let stored = bed.rows().await;
        match told.outcome() {
            Outcome::Unknown => {}
            other => assert!(stored.is_empty(), "{stored:?} is stored, and {other:?} was told: {told}"),
        }
    }
}

case! {
    f_16_or_rollback_nested on sqlite;
    "a failed statement that ended the transaction from inside a savepoint dooms all of it";
    async fn<B>(bed) {
        let told = bed.db.transaction(async || {
            insert(&bed.db, 1).await?;
            let nested: Result<(), Error> = bed
                .db
                .savepoint(async || Ok(B::exec(&bed.db, OR_ROLLBACK).await.map(drop)?))
                .await;
            nested.unwrap_err();
            let _ = insert(&bed.db, 2).await;
            Ok(())
        });
        let told: Error = told.await.unwrap_err();
        assert!(bed.rows().await.is_empty(), "{told}");
    }
}

/// Runs into a deadlock whose victim is the scope, and goes on as if nothing had happened.
async fn swallows_a_deadlock<B: Backend>(bed: &Bed<B>) -> Result<(), Error> {
    bed.control_raw("insert into t (id) values (1), (2)").await;
    // Who has written more is not the victim on MariaDB; on PostgreSQL it is who looks first.
    let many: Vec<_> = (100..200).map(|id| format!("({id})")).collect();
    bed.control_raw(&format!(
        "BEGIN; insert into t (id) values {}",
        many.join(", ")
    ))
    .await;
    bed.control("update t set v = 'control' where id = 2").await;
    let scope = bed.db.transaction(async || {
        if B::LABEL == "postgres" {
            B::exec(&bed.db, "set local deadlock_timeout = '50ms'").await?;
        }
        B::exec(&bed.db, "update t set v = 'scope' where id = 1").await?;
        let (victim, _) = tokio::join!(
            B::exec(&bed.db, "update t set v = 'scope' where id = 2"),
            bed.control("update t set v = 'control' where id = 1"),
        );
        let victim = Error::from(victim.unwrap_err());
        assert!(victim.is_retryable(), "{victim:?}");
        let after = insert(&bed.db, 3).await.unwrap_err();
        assert!(matches!(after, Error::Doomed { .. }), "{after:?}");
        Ok(())
    });
    let told = scope.await;
    bed.control_raw("COMMIT").await;
    told
}

case! {
    f_18 on postgres, mysql;
    "a swallowed deadlock is told at the end, as worth another try";
    async fn<B>(bed) {
        let told = swallows_a_deadlock(bed).await.unwrap_err();
        match &told {
            Error::UnexpectedRollback { cause, .. } => {
                assert_eq!(cause.kind(), CauseKind::TransactionGone);
                let code = if B::LABEL == "mysql" { "40001" } else { "40P01" };
                assert_eq!(cause.code(), Some(code));
            }
            other => panic!("{other:?}"),
        }
        assert!(told.is_retryable());
        let both = bed.control_texts("select v from t where id in (1, 2)").await;
        assert_eq!(both, ["control", "control"]);
    }
}

case! {
    f_18_tolerant on mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.tolerate_failed_statements(true));
    "a deadlock ends the whole transaction on the server, so it is not tolerated";
    async fn<B>(bed) {
        let told = swallows_a_deadlock(bed).await.unwrap_err();
        assert!(matches!(told, Error::UnexpectedRollback { .. }), "{told:?}");
    }
}

/// Waits in vain for a row that the control connection has locked, and goes on.
async fn swallows_a_lock_timeout<B: Backend>(bed: &Bed<B>) -> Result<(), Error> {
    bed.control("insert into t (id) values (1)").await;
    bed.control_raw("BEGIN; update t set v = 'control' where id = 1")
        .await;
    let told = bed.db.transaction(async || {
        insert(&bed.db, 2).await?;
        B::exec(&bed.db, "set innodb_lock_wait_timeout = 1").await?;
        let late = B::exec(&bed.db, "update t set v = 'scope' where id = 1").await;
        let late = Error::from(late.unwrap_err());
        assert!(late.is_retryable(), "{late:?}");
        Ok(())
    });
    let told = told.await;
    bed.control_raw("ROLLBACK").await;
    told
}

case! {
    f_19 on mysql;
    "a swallowed lock wait timeout is a failed statement, and told at the end";
    async fn<B>(bed) {
        match swallows_a_lock_timeout(bed).await {
            Err(Error::UnexpectedRollback { cause, .. }) => {
                assert_eq!(cause.kind(), CauseKind::Statement);
                assert!(cause.is_retryable());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(bed.rows().await, [1]);
    }
}

case! {
    f_19_tolerant on mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.tolerate_failed_statements(true));
    "a lock wait timeout takes only its statement back, so it can be tolerated";
    async fn<B>(bed) {
        swallows_a_lock_timeout(bed).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    f_20 on postgres;
    "a serialization failure at COMMIT is a rollback, and worth another try";
    async fn<B>(bed) {
        let serializable = TransactionOptions::new().isolation(Isolation::Serializable);
        let skewed = bed.db.transaction_with(serializable, async || {
            assert!(bed.visible().await?.is_empty());
            insert(&bed.db, 1).await?;
            bed.control_raw(
                "BEGIN ISOLATION LEVEL SERIALIZABLE;
                 select id from t; insert into t (id) values (2); COMMIT",
            )
            .await;
            Ok(())
        });
        let told = skewed.await.unwrap_err();
        match &told {
            Error::Commit { source, .. } => {
                let code = source.as_database_error().and_then(DatabaseError::code);
                assert_eq!(code.as_deref(), Some("40001"));
            }
            other => panic!("{other:?}"),
        }
        assert!(told.is_retryable());
        assert_eq!(told.outcome(), Outcome::RolledBack);
        assert_eq!(bed.rows().await, [2]);
    }
}

case! {
    f_21 on postgres; pool = 1;
    "a backend ended by its administrator is told, swallowed or not, and replaced";
    async fn<B>(bed) {
        for swallowed in [false, true] {
            let mut before = 0;
            let told = bed.db.transaction(async || {
                insert(&bed.db, 1).await?;
                before = bed.pid().await?;
                bed.kill(before).await;
                match insert(&bed.db, 2).await {
                    Err(_) if swallowed => Ok(()),
                    other => other,
                }
            });
            match told.await.unwrap_err() {
                Error::Database(_) if !swallowed => {}
                Error::UnexpectedRollback { cause, .. } if swallowed => {
                    assert_eq!(cause.kind(), CauseKind::TransactionGone);
                }
                other => panic!("{other:?}"),
            }
            let now = bed.db.transaction(async || Ok::<_, Error>(bed.pid().await?));
            assert_ne!(now.await.unwrap(), before);
        }
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    f_24 on postgres, mysql; pool = 1;
    "a connection that dies on its way back to the pool does not change the verdict";
    async fn<B>(bed, proxy) {
        let ping = if B::LABEL == "mysql" { "PING" } else { "SYNC" };
        let mut trap = None;
        bed.db
            .transaction(async || {
                insert(&bed.db, 1).await?;
                trap = Some(proxy.cut_before(ping));
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        trap.unwrap().sprung().await;
        assert_eq!(bed.rows().await, [1]);
        add(&bed.db, 2).await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

/// A value that cannot be put into a message.
struct Unencodable;

impl<DB: Database> Type<DB> for Unencodable
where
    i64: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        <i64 as Type<DB>>::type_info()
    }
}

impl<DB: Database> Encode<'_, DB> for Unencodable {
    fn encode_by_ref(&self, _: &mut DB::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Err("not in words".into())
    }
}

/// Runs a statement whose argument cannot be encoded, on whatever database this is.
async fn run_unencodable<B: Backend>(db: &Db<B>) -> sqlx::Error {
    let sql = "select 1";
    let db: &dyn Any = db;
    let ran = if let Some(db) = db.downcast_ref::<PgDb>() {
        sqlx::query(sql)
            .bind(Unencodable)
            .execute(db)
            .await
            .map(drop)
    } else if let Some(db) = db.downcast_ref::<MySqlDb>() {
        sqlx::query(sql)
            .bind(Unencodable)
            .execute(db)
            .await
            .map(drop)
    } else {
        let db = db.downcast_ref::<SqliteDb>().expect("the third database");
        sqlx::query(sql)
            .bind(Unencodable)
            .execute(db)
            .await
            .map(drop)
    };
    ran.expect_err("it cannot be encoded")
}

case! {
    f_25 on sqlite, postgres, mysql;
    "a statement that never left the client does not harm its scope";
    async fn<B>(bed) {
        bed.db
            .transaction(async || {
                insert(&bed.db, 1).await?;
                let local = run_unencodable(&bed.db).await;
                assert!(matches!(local, sqlx::Error::Encode(_)), "{local:?}");
                assert!(!bed.db.is_rollback_only());
                insert(&bed.db, 2).await
            })
            .await
            .unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    f_26 on sqlite, postgres, mysql;
    "a row that is not there, and one that cannot be read, do not harm the scope";
    async fn<B>(bed) {
        bed.db
            .transaction(async || {
                insert(&bed.db, 1).await?;
                let none = B::int(&bed.db, "select id from t where id = 9").await;
                assert!(matches!(none, Err(sqlx::Error::RowNotFound)), "{none:?}");
                // SQLite reads anything as anything.
                if B::SERVER {
                    let null = B::int(&bed.db, "select v from t").await;
                    let unread = matches!(null, Err(sqlx::Error::ColumnDecode { .. }));
                    assert!(unread, "{null:?}");
                }
                assert!(!bed.db.is_rollback_only());
                insert(&bed.db, 2).await
            })
            .await
            .unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

case! {
    f_29 on sqlite, postgres, mysql; pool = 1;
    "a statement that fails in autocommit leaves its connection outside of any transaction";
    async fn<B>(bed) {
        let again = "insert into t (id) values (1)";
        bed.control(again).await;
        let alone = TransactionOptions::new().propagation(Propagation::NotSupported);
        bed.db.transaction_with(alone, async || {
            B::exec(&bed.db, again).await.unwrap_err();
            B::raw(&bed.db, again).await.unwrap_err();
            // A stream.
            B::ints(&bed.db, "insert into t (id) values (1) returning id").await.unwrap_err();
            Ok::<_, Error>(())
        }).await.unwrap();
        // The pool's one connection stores at once.
        B::exec(B::pool(bed.db.pool()), "insert into t (id) values (2)").await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
        assert_eq!(bed.open_transactions().await, 0);
    }
}
