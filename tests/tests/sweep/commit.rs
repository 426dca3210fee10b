//! COMMIT itself is cut off.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use tx_runtime::Error;
use tx_tests::{Trap, case};

/// Polls `future` until the trap has sprung, then drops it.
pub(crate) async fn dropped_at<T: fmt::Debug>(trap: &Trap, future: impl Future<Output = T>) {
    tokio::select! {
        () = trap.sprung() => {}
        output = future => panic!("it was not held: {output:?}"),
    }
}

case! {
    commit_dropped_mid_flight on postgres, mysql; pool = 1;
    "a COMMIT that its caller walked away from ends one way or the other, never open";
    async fn<B>(bed, proxy) {
        // Whether the server has got COMMIT when the caller goes, and whether the connection
        // dies before the answer comes.
        let fates = [(false, false), (false, true), (true, false), (true, true)];
        for (id, (arrived, dies)) in (1..).zip(fates) {
            let trap = if arrived {
                proxy.hold_after("COMMIT")
            } else {
                proxy.hold_before("COMMIT")
            };
            let pid = AtomicI64::new(0);
            let scope = bed.db.transaction(async || {
                bed.insert(id).await?;
                pid.store(bed.pid().await?, Ordering::Relaxed);
                Ok::<_, Error>(())
            });
            dropped_at(&trap, scope).await;
            assert_eq!(bed.rows().await.contains(&id), arrived);
            if dies {
                bed.kill(pid.into_inner()).await;
            }
            trap.release();
            bed.assert_clean().await;
            assert_eq!(bed.rows().await.contains(&id), arrived || !dies, "{arrived}, {dies}");
        }
    }
}
