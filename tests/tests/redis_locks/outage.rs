//! A Redis that is not there.

use std::error::Error as _;

use tokio::time::timeout;
use tx_runtime::Error;
use tx_tests::case;

use crate::setup::{LONG, PATIENCE, Setup, fenced, k};

case! {
    down on sqlite;
    "a Redis that is down is an error that names it, and is found again when it is back";
    async fn<B>(bed) {
        let Some(mut setup) = Setup::new(LONG).await else { return };
        setup.redis.kill().await;
        let taken = timeout(PATIENCE, bed.db.lock(k(&setup.here))).await.unwrap();
        let error = taken.unwrap_err();
        assert!(matches!(&error, Error::LockUnavailable { key, .. } if key == "k"), "{error}");
        let address = setup.redis.url().trim_start_matches("redis://");
        assert!(error.to_string().contains(address), "{error}");
        assert!(error.source().and_then(|why| why.source()).is_some(), "the driver's error is kept");
        setup.redis.restart().await;
        bed.db.lock(k(&setup.here)).await.unwrap().release().await.unwrap();
    }
}

case! {
    silent on sqlite;
    "a Redis that does not answer is given up, and what it did take is opened when it does";
    async fn<B>(bed) {
        let Some(setup) = Setup::new(LONG).await else { return };
        setup.redis.pause();
        let taken = timeout(PATIENCE, bed.db.lock(k(&setup.here))).await.unwrap();
        setup.redis.resume();
        let error = taken.unwrap_err();
        assert!(matches!(error, Error::LockUnavailable { .. }), "{error}");
        assert!(error.to_string().contains("did not answer"), "{error}");
        // It carries out what it has been sent meanwhile.
        setup.until_open().await;
        bed.db.lock(k(&setup.here)).await.unwrap().release().await.unwrap();
    }
}

case! {
    gone_before_commit on sqlite, postgres, mysql; bed = fenced::<B>();
    "under a lock that cannot be checked nothing is committed";
    async fn<B>(bed) {
        let Some(mut setup) = Setup::new(LONG).await else { return };
        let redis = &mut setup.redis;
        let refused = bed.db.locked(k(&setup.here), async || {
            let work = bed.db.transaction(async || {
                bed.insert(1).await?;
                redis.kill().await;
                Ok::<_, Error>(())
            });
            work.await
        });
        let error = timeout(PATIENCE, refused).await.unwrap().unwrap_err();
        assert!(matches!(error, Error::LockUnavailable { .. }), "{error}");
        assert!(bed.rows().await.is_empty());
        setup.redis.restart().await;
        let done = bed.db.locked(k(&setup.here), async || {
            bed.db.transaction(async || Ok::<_, Error>(bed.insert(2).await?)).await
        });
        done.await.unwrap();
        assert_eq!(bed.rows().await, [2]);
    }
}
