//! Storms of double taps: what each variant leaves in the tables.

use interest_asset::instance::Instance;
use interest_asset::report::Report;
use interest_asset::storm::ASSETS;
use interest_asset::trial;
use interest_asset::variant::Variant;
use sqlx::pool::PoolOptions;
use stage::ProgressBar;
use tx_runtime::{Db, LocalLocks};
use tx_tests::{Bed, on_each_database};

use crate::scene::{self, Base, STORMS};

const USERS: u32 = 64;

const ACCOUNTS: i64 = 100;

/// A storm on `instances` of the service, with a pool of 4 each.
async fn storm<B: Base>(bed: &Bed<B>, instances: &[Instance<B>], variant: Variant) -> Report {
    let unseen = ProgressBar::hidden();
    let report = trial::run(instances, variant, 1..=ACCOUNTS, USERS, &unseen).await;
    let report = report.unwrap_or_else(|error| panic!("{variant}: {error}"));
    assert_eq!(report.requests, 2 * ASSETS.len() * report.accounts);
    assert!(report.p50 <= report.p99, "{report:?}");
    let stored =
        bed.control_ints("select count(*) - count(distinct account_id) from interest_asset");
    assert_eq!(
        stored.await,
        [i64::try_from(report.duplicate_rows).expect("a small number")]
    );
    report
}

fn instance<B: Base>(db: &Db<B>) -> Instance<B> {
    Instance::new(db.clone(), LocalLocks::new())
}

async fn does_no_harm<B: Base>(variant: Variant, instances: usize) {
    let Some(bed) = scene::bed::<B>().await else {
        return;
    };
    let mut several = vec![instance(&bed.db)];
    while several.len() < instances {
        let pool = PoolOptions::new().max_connections(4);
        let db = Db::connect_with(pool, bed.options().clone()).await;
        several.push(instance(&db.expect("a further pool")));
    }
    let report = storm(&bed, &several, variant).await;
    assert_eq!(report.faults(), 0, "{variant}: {report:#?}");

    let rows = bed.control_texts("select assets from interest_asset").await;
    assert_eq!(rows.len(), report.accounts);
    let mut expected = ASSETS;
    expected.sort_unstable();
    for row in rows {
        let mut listed: Vec<i64> = row
            .split(',')
            .map(|text| text.parse().expect(&row))
            .collect();
        listed.sort_unstable();
        assert_eq!(listed, expected);
    }
    let notifications = bed.control_ints("select count(*) from notification").await;
    assert_eq!(notifications, [4 * ACCOUNTS]);
    for Instance { db, .. } in &several[1..] {
        db.drain().await;
        db.pool().close().await;
    }
    bed.assert_clean().await;
    bed.finish().await;
}

async fn isolated_does_no_harm<B: Base>() {
    does_no_harm::<B>(Variant::Isolated, 1).await;
}
on_each_database!(isolated_does_no_harm);

async fn one_transaction_does_no_harm<B: Base>() {
    does_no_harm::<B>(Variant::OneTransaction, 1).await;
}
on_each_database!(one_transaction_does_no_harm);

/// The two taps of a user reach different instances of the service.
async fn two_isolated_instances_do_no_harm<B: Base>() {
    does_no_harm::<B>(Variant::Isolated, 2).await;
}
on_each_database!(two_isolated_instances_do_no_harm);

async fn two_instances_in_one_transaction_do_no_harm<B: Base>() {
    does_no_harm::<B>(Variant::OneTransaction, 2).await;
}
on_each_database!(two_instances_in_one_transaction_do_no_harm);

/// On servers two rows for one account; SQLite, which has one writer, notices and refuses.
fn has_fault<B: Base>(report: &Report) -> bool {
    let failure = "500 Internal Server Error: query did not return a unique result: 2";
    if B::SERVER {
        report.duplicate_rows > 0 && report.failures.contains_key(failure)
    } else {
        report.failed_requests > 0
    }
}

async fn shows_the_fault<B: Base>(variant: Variant) {
    for _ in 0..STORMS {
        let Some(bed) = scene::bed::<B>().await else {
            return;
        };
        let report = storm(&bed, &[instance(&bed.db)], variant).await;
        bed.finish().await;
        if has_fault::<B>(&report) {
            return;
        }
    }
    panic!("{variant}: the fault did not show in {STORMS} storms");
}

async fn no_lock_shows_the_fault<B: Base>() {
    shows_the_fault::<B>(Variant::NoLock).await;
}
on_each_database!(no_lock_shows_the_fault);

async fn a_lock_released_before_commit_shows_the_fault<B: Base>() {
    shows_the_fault::<B>(Variant::LockReleasedBeforeCommit).await;
}
on_each_database!(a_lock_released_before_commit_shows_the_fault);
