//! The tables and the log, as users read them.

use std::time::{Duration, SystemTime};

use sqlx::ConnectOptions as _;
use tokio::time::{sleep, timeout};
use tx_runtime::{Error, Lock, TicketLocks, TicketState};
use tx_tests::{Backend, Bed, case};

use crate::setup::{PATIENCE, POLL, k, states, ticketed, tickets, until_states};
use crate::warned;

case! {
    read_back on sqlite, postgres, mysql; bed = ticketed::<B>();
    "the log tells what happened: who, what for, when, how long, what came of it";
    async fn<B>(bed) {
        let locks = tickets(bed);
        bed.db.locked(k(&locks).label("första"), async || Ok::<_, Error>(())).await.unwrap();
        let refused: Result<(), Error> = bed.db.locked(k(&locks), async || Err(Error::Database(sqlx::Error::RowNotFound))).await;
        refused.unwrap_err();
        bed.db.locked(Lock::key("other").on(&locks), async || Ok::<_, Error>(())).await.unwrap();
        let log = locks.log("k", 10).await.unwrap();
        assert_eq!(log.len(), 2);
        let [second, first] = &log[..] else { panic!() };
        assert_eq!((first.state, second.state), (TicketState::Done, TicketState::Failed));
        assert_eq!((first.token, second.token), (Some(1), Some(2)));
        assert_eq!((&*first.label, &*second.label), ("första", "locked"));
        assert!(first.owner.contains("process "), "{}", first.owner);
        assert!(second.error.as_ref().unwrap().contains("RowNotFound"), "{second:?}");
        assert!(first.waits_on.is_none() && first.heartbeat.is_none() && first.deadline.is_none());
        // By the database's clock, which is this machine's in the tests.
        let age = SystemTime::now().duration_since(first.requested).unwrap_or_default();
        assert!(age < Duration::from_mins(1), "{first:?}");
        assert!(first.started >= Some(first.requested) && first.ended >= first.started);
        assert!(first.ran().unwrap() < Duration::from_mins(1));
        assert_eq!(locks.log("k", 1).await.unwrap().len(), 1);
        assert_eq!(locks.log_of_all(10).await.unwrap().len(), 3);
        assert!(locks.current("k").await.unwrap().is_empty());
    }
}

case! {
    by_its_clock on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a running ticket shows its heartbeat; states are words of their own";
    async fn<B>(bed) {
        let locks = tickets(bed);
        bed.db.locked(k(&locks), async || {
            let line = locks.current("k").await.unwrap();
            assert_eq!(line.len(), 1);
            assert_eq!(line[0].state.to_string(), "RUNNING");
            assert!(line[0].heartbeat.is_some() && line[0].ended.is_none() && !line[0].is_overdue());
            Ok::<_, Error>(())
        }).await.unwrap();
    }
}

case! {
    overdue on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a ticket that runs for too long is listed and told to those who wait, and keeps its lock";
    async fn<B>(bed) {
        let locks = tickets(bed).deadline(Duration::from_millis(50));
        bed.db.locked(k(&locks).label("slow"), async || {
            while locks.overdue().await.unwrap().is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
            assert!(locks.overdue().await.unwrap()[0].is_overdue());
            let other = tickets(bed);
            let error = tokio::spawn({
                let (db, lock) = (bed.db.clone(), Lock::key("k").on(&other).no_wait());
                async move { db.locked(lock, async || Ok::<_, Error>(())).await.unwrap_err() }
            }).await.unwrap();
            assert!(error.to_string().contains("longer than its deadline"), "{error}");
            Ok::<_, Error>(())
        }).await.unwrap();
        assert!(locks.overdue().await.unwrap().is_empty());
        assert_eq!(states(bed).await[0], "DONE");
    }
}

case! {
    overdue_once on sqlite, postgres, mysql; bed = ticketed::<B>();
    "the holder's process warns of a ticket that runs for too long, once";
    async fn<B>(bed) {
        warned::listen();
        let label = format!("too long on {}", B::LABEL);
        let about = ["running for longer than its deadline", &*label];
        let locks = tickets(bed).lease(Duration::from_secs(3)).deadline(Duration::from_millis(50));
        bed.db.locked(k(&locks).label(&label), async || {
            warned::until_line(&about).await;
            until_next_beats(bed).await;
            Ok::<_, Error>(())
        }).await.unwrap();
        assert_eq!(warned::lines(&about).len(), 1);
    }
}

/// Waits until the process has said twice more that it is alive.
async fn until_next_beats<B: Backend>(bed: &Bed<B>) {
    let heartbeat = async || {
        bed.control_texts("select cast(heartbeat as char(40)) from tx_ticket_process")
            .await
    };
    for _ in 0..2 {
        let last = heartbeat().await;
        let next = async {
            while heartbeat().await == last {
                sleep(POLL).await;
            }
        };
        timeout(PATIENCE, next).await.expect("it is alive");
    }
}

case! {
    purged on sqlite, postgres, mysql; bed = ticketed::<B>();
    "old tickets can be deleted, and tokens go on where they were";
    async fn<B>(bed) {
        let locks = tickets(bed);
        let once = async |key: &str| {
            bed.db.locked(Lock::key(key).on(&locks), async || Ok::<_, Error>(())).await.unwrap();
        };
        for key in ["a", "a", "a", "b"] {
            once(key).await;
        }
        bed.db.locked(Lock::key("a").on(&locks), async || {
            assert_eq!(locks.purge(Duration::from_hours(1)).await.unwrap(), 0);
            assert_eq!(locks.purge(Duration::ZERO).await.unwrap(), 3);
            Ok::<_, Error>(())
        }).await.unwrap();
        let other = tickets(bed);
        tokio::spawn({
            let (db, lock) = (bed.db.clone(), Lock::key("c").on(&other));
            async move { drop(db.lock(lock).await.unwrap()) }
        }).await.unwrap();
        until_states(bed, &["DONE", "DONE", "CANCELLED"]).await;
        // Of a key that nobody has had since, the last one stays.
        assert_eq!(locks.purge(Duration::ZERO).await.unwrap(), 0);
        once("a").await;
        once("b").await;
        let tokens = bed.control_ints("select max(token) from tx_ticket group by name order by name").await;
        assert_eq!(tokens, [5, 2, 1]);
    }
}

case! {
    without_tables on sqlite, postgres, mysql;
    "without the tables nothing runs, and the error says how to make them; making them twice does no harm";
    async fn<B>(bed) {
        let locks = tickets(bed);
        let refused = bed.db.locked(k(&locks), async || Ok::<_, Error>(()));
        let error = refused.await.unwrap_err();
        assert!(matches!(error, Error::NoTicketTable { .. }), "{error}");
        assert!(error.to_string().contains(TicketLocks::<B>::tables()), "{error}");
        assert!(matches!(locks.log("k", 1).await.unwrap_err(), Error::NoTicketTable { .. }));
        bed.control_raw(TicketLocks::<B>::tables()).await;
        locks.create_tables().await.unwrap();
        locks.create_tables().await.unwrap();
        bed.db.locked(k(&locks), async || Ok::<_, Error>(())).await.unwrap();
        assert_eq!(states(bed).await, ["DONE"]);
    }
}

case! {
    bad_names on sqlite, postgres, mysql; bed = ticketed::<B>();
    "a label or key that cannot be stored is refused before anything is asked for";
    async fn<B>(bed) {
        let locks = tickets(bed);
        let long = "\u{1f512}".repeat(51);
        for label in ["", "a\0b", &long] {
            let error = bed.db.locked(k(&locks).label(label), async || Ok::<_, Error>(())).await.unwrap_err();
            assert!(matches!(error, Error::LockLabel { .. }), "{error}");
        }
        for key in ["", "a\0b", &long.repeat(3)] {
            let lock = Lock::key(key).on(&locks);
            let error = bed.db.locked(lock, async || Ok::<_, Error>(())).await.unwrap_err();
            assert!(matches!(error, Error::LockKey { .. }), "{error}");
        }
        assert!(states(bed).await.is_empty());
        // Whatever can be stored is exact.
        let longest = "\u{1f512}".repeat(50);
        let keys = ["k", "K", "k ", "\u{fc}", "u\u{308}", "'\"\\`%{}", &"\u{1f512}".repeat(125)];
        for key in keys {
            bed.db.locked(Lock::key(key).on(&locks).label(&longest), async || Ok::<_, Error>(())).await.unwrap();
            let log = locks.log(key, 5).await.unwrap();
            assert_eq!((log.len(), &*log[0].key, &*log[0].label), (1, key, &*longest));
            assert_eq!(log[0].token, Some(1));
        }
    }
}

case! {
    enforced on sqlite, postgres, mysql; bed = ticketed::<B>();
    "the table refuses a second RUNNING ticket of a key, and a token that was given before, whoever writes them";
    async fn<B>(bed) {
        let locks = tickets(bed);
        bed.db.locked(k(&locks), async || {
            let copy = |state: &str, token: i64, request: i64| {
                let ended = if state == "RUNNING" { "null" } else { "started" };
                format!(
                    "insert into tx_ticket (name, label, state, token, process, request, owner, requested, started, ended) \
                     select name, label, '{state}', {token}, process, {request}, owner, requested, started, {ended} from tx_ticket where token = 1"
                )
            };
            let mut other = bed.options().connect().await.unwrap();
            for (state, token) in [("RUNNING", 2), ("DONE", 1), ("RUNNING", 1)] {
                let written = B::exec(B::on(&mut other), &copy(state, token, 100)).await;
                assert!(matches!(&written, Err(sqlx::Error::Database(error)) if error.is_unique_violation()), "{state} {token}: {written:?}");
            }
            B::exec(B::on(&mut other), &copy("DONE", 2, 100)).await.unwrap();
            Ok::<_, Error>(())
        }).await.unwrap();
    }
}
