//! A lease as long as nothing goes wrong, and tokens.

use tx_runtime::{Error, Lock, LockProvider as _};
use tx_tests::{case, poll_n};

use crate::setup::{KEY, LONG, SHORT, Setup, fenced, k, provider};

case! {
    one_holder on sqlite;
    "a lock excludes other processes, says who has it, and goes over when it is opened";
    async fn<B>(bed) {
        let Some(setup) = Setup::new(LONG).await else { return };
        let held = bed.db.lock(k(&setup.here)).await.unwrap();
        let refused = bed.db.lock(k(&setup.there).no_wait()).await.unwrap_err();
        let Error::LockTimeout { key, holder: Some(holder), .. } = &refused else { panic!("{refused:?}") };
        assert_eq!(key, "k");
        let process = format!("`lock` ({}:{}) in process {}", file!(), line!() - 4, std::process::id());
        assert!(holder.starts_with(&process), "{holder}");
        assert!(!holder.contains('#'), "{holder}");

        let waiting = tokio::spawn({
            let (db, lock) = (bed.db.clone(), k(&setup.there));
            async move { db.lock(lock).await?.release().await }
        });
        held.release().await.unwrap();
        waiting.await.unwrap().unwrap();
        assert!(!setup.is_held().await);
        // Other names and other prefixes are other locks.
        let held = bed.db.lock(k(&setup.here)).await.unwrap();
        let other = setup.there.clone().prefix("other:");
        bed.db.lock(k(&other).no_wait()).await.unwrap().release().await.unwrap();
        let other = Lock::key("K").on(&setup.there).no_wait();
        bed.db.lock(other).await.unwrap().release().await.unwrap();
        held.release().await.unwrap();
    }
}

case! {
    again_in_the_chain on sqlite; bed = fenced::<B>();
    "a chain that has the lock asks Redis no second time, and keeps its token";
    async fn<B>(bed) {
        let Some(setup) = Setup::new(LONG).await else { return };
        let token = "select token from tx_fence where name = 'k'";
        let done = bed.db.locked(k(&setup.here), async || {
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(1).await?)).await?;
            let first = bed.control_ints(token).await;
            let again = bed.db.locked(k(&setup.here).no_wait(), async || {
                bed.db.transaction(async || Ok::<_, Error>(bed.insert(2).await?)).await
            });
            again.await?;
            assert_eq!(bed.control_ints(token).await, first);
            assert!(setup.is_held().await, "the inner holder opened it");
            Ok::<_, Error>(())
        });
        done.await.unwrap();
        assert_eq!(bed.rows().await, [1, 2]);
        assert!(!setup.is_held().await);
    }
}

case! {
    renewed on sqlite;
    "a lease is renewed as long as the lock is held, and never after";
    async fn<B>(bed) {
        let Some(setup) = Setup::new(SHORT).await else { return };
        let left = async || setup.redis.ask::<i64>(&["PTTL", KEY]).await;
        let held = bed.db.lock(k(&setup.here)).await.unwrap();
        let holder: String = setup.redis.ask(&["GET", KEY]).await;
        let mut last = left().await;
        let mut renewals = 0;
        while renewals < 4 {
            let now = left().await;
            assert!(now > 0, "the lease ran out after {renewals} renewals");
            renewals += i32::from(now > last);
            last = now;
        }
        held.release().await.unwrap();
        assert!(!setup.is_held().await);
        // A renewal that goes on would take this for its own.
        let _: String = setup.redis.ask(&["SET", KEY, &holder, "PX", "400"]).await;
        setup.until_open().await;
    }
}

case! {
    several_keys on sqlite;
    "several keys are had together or not at all";
    async fn<B>(bed) {
        let Some(setup) = Setup::new(LONG).await else { return };
        let both = || Lock::keys(["k", "l"]);
        let l = bed.db.lock(Lock::key("l").on(&setup.there)).await.unwrap();
        let refused = bed.db.lock(both().on(&setup.here).no_wait()).await;
        assert!(matches!(refused, Err(Error::LockTimeout { .. })), "{refused:?}");
        assert!(!setup.is_held().await, "it took the first key");
        l.release().await.unwrap();
        let held = bed.db.lock(both().on(&setup.here).no_wait()).await.unwrap();
        for key in ["k", "l"] {
            let refused = bed.db.lock(Lock::key(key).on(&setup.there).no_wait()).await;
            assert!(matches!(refused, Err(Error::LockTimeout { .. })), "{refused:?}");
        }
        held.release().await.unwrap();
        let names: Vec<String> = setup.redis.ask(&["KEYS", "tx:lock:*"]).await;
        assert!(names.is_empty(), "{names:?}");
    }
}

case! {
    given_up on sqlite;
    "whoever gives up while taking a lock leaves nothing behind, at whatever point";
    async fn<B>(bed) {
        let Some(setup) = Setup::new(LONG).await else { return };
        let mut given_up = 0;
        for cold in [true, false] {
            let mut locks = provider(setup.redis.url(), LONG).await;
            for n in 1.. {
                if cold {
                    locks = tx_runtime::RedisLocks::new(redis::Client::open(setup.redis.url()).unwrap());
                }
                let (taken, _) = poll_n(bed.db.lock(k(&locks)), n).await;
                if let Some(taken) = taken {
                    taken.unwrap().release().await.unwrap();
                    break;
                }
                given_up += 1;
                locks.queue().drain().await;
                assert!(!setup.is_held().await, "cold: {cold}, n = {n}");
            }
        }
        assert!(given_up > 0);
    }
}

case! {
    flushed on sqlite, postgres, mysql; bed = fenced::<B>();
    "a Redis that has forgotten everything goes on with greater tokens";
    async fn<B>(bed) {
        let Some(mut setup) = Setup::new(LONG).await else { return };
        let once = async |setup: &Setup, id| {
            let done = bed.db.locked(k(&setup.here), async || {
                bed.db.transaction(async || Ok::<_, Error>(bed.insert(id).await?)).await
            });
            done.await.unwrap();
            bed.control_ints("select token from tx_fence where name = 'k'").await[0]
        };
        let first = once(&setup, 1).await;
        let _: String = setup.redis.ask(&["FLUSHALL"]).await;
        let second = once(&setup, 2).await;
        setup.redis.kill().await;
        setup.redis.restart().await;
        let third = once(&setup, 3).await;
        assert!(first < second && second < third, "{first}, {second}, {third}");
    }
}

case! {
    floor on sqlite, postgres, mysql; bed = fenced::<B>();
    "a database that has seen a greater token is caught up with at the second try";
    async fn<B>(bed) {
        let Some(setup) = Setup::new(LONG).await else { return };
        let far_ahead = 1_i64 << 52;
        bed.control(&format!("insert into tx_fence (name, token) values ('k', {far_ahead})")).await;
        let once = async |id| {
            let done = bed.db.locked(k(&setup.here), async || {
                bed.db.transaction(async || Ok::<_, Error>(bed.insert(id).await?)).await
            });
            done.await
        };
        let refused = once(1).await;
        assert!(matches!(refused, Err(Error::LockLost { .. })), "{refused:?}");
        once(2).await.unwrap();
        assert_eq!(bed.rows().await, [2]);
        assert_eq!(bed.control_ints("select token from tx_fence").await, [far_ahead + 1]);
    }
}

case! {
    what_it_costs on postgres, mysql; pool = 1;
    "a lease costs three questions to Redis, and one message to the database";
    async fn<B>(bed, proxy) {
        let Some(setup) = Setup::new(LONG).await else { return };
        bed.control_raw(tx_runtime::Db::<B>::fence_table()).await;
        let scope = async |id, lock: Option<Lock>| {
            let work = async || bed.db.transaction(async || Ok::<_, Error>(bed.insert(id).await?)).await;
            proxy.clear();
            match lock {
                Some(lock) => bed.db.locked(lock, work).await.unwrap(),
                None => work().await.unwrap(),
            }
            proxy.log().iter().filter(|(_, message)| !message.eq_ignore_ascii_case("ping") && message != "SYNC").count()
        };
        // Statements are prepared, and Redis knows the scripts.
        for id in [1, 2] {
            scope(id, Some(k(&setup.here))).await;
        }
        let asked = async || -> u64 {
            let stats: String = setup.redis.ask(&["INFO", "commandstats"]).await;
            let scripts = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
            scripts.and_then(|calls| calls.split(',').next()).unwrap().parse().unwrap()
        };
        let before = asked().await;
        let (without, with) = (scope(3, None).await, scope(4, Some(k(&setup.here))).await);
        assert_eq!(asked().await - before, 3, "take, check, open");
        assert_eq!(with - without, 1, "{:?}", proxy.log());
    }
}
