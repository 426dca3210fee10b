//! Imports by hand and the nightly batch, in two processes: what each variant leaves in the
//! tables, and what the API sees of them.

use std::time::Duration;

use ad_reports::api::{Api, lines_of};
use ad_reports::outcome::Outcome;
use ad_reports::plan::Plan;
use ad_reports::variant::{Importer, Variant};
use tx_tests::{Bed, on_each_database};

use crate::scene::{self, Base, TRIALS, outcomes, serve, states};

/// Longer than in other tests, so that a session that ends deletes the reports of one that does not.
const WORK: Duration = Duration::from_millis(50);

const PLAN: Plan = Plan {
    accounts: 11..=14,
    days: 5,
    manual_runs: 2,
};

/// 3 runs of 5 days for each of 4 accounts.
const RUNS: usize = 12;

async fn trial<B: Base>(bed: &Bed<B>, variant: Variant) -> Outcome {
    let added = B::add_accounts(B::outside(&bed.db), PLAN.accounts).await;
    added.expect("new accounts");
    let batch = scene::elsewhere(bed).await;
    let api = Api::new(WORK);
    let server = serve(api.router()).await;
    let (by_hand, nightly) = (PLAN.by_hand(), PLAN.nightly());
    let ours = Importer::new(&bed.db, server.address(), variant);
    let of_the_batch = Importer::new(&batch, server.address(), variant);
    let (first, second) =
        tokio::join!(ours.import_all(&by_hand), of_the_batch.import_all(&nightly));
    first.and(second).expect("a log");
    let outcome = Outcome::of(bed.db.pool(), &PLAN, api.seen()).await;
    batch.drain().await;
    batch.pool().close().await;
    let outcome = outcome.expect("the tables");
    assert_eq!(
        (outcome.accounts, outcome.runs, outcome.days),
        (4, RUNS, 60)
    );
    assert_eq!(outcome.seen.sessions, RUNS);
    outcome
}

/// The nightly path has skipped the check: 200, an empty list, and nobody notices.
async fn status_check_loses_reports<B: Base>() {
    for _ in 0..TRIALS {
        let Some(bed) = scene::bed::<B>().await else {
            return;
        };
        let outcome = trial(&bed, Variant::StatusCheck).await;
        assert_eq!(outcomes(&bed).await, ["SUCCESS"; RUNS]);
        assert_eq!(outcome.imported_days + outcome.lost_days, outcome.days);
        assert!(states(&bed).await.is_empty(), "there are no tickets");
        bed.assert_clean().await;
        bed.finish().await;
        if outcome.lost_days > 0 {
            assert!(outcome.seen.overlapping_sessions > 0, "{outcome:#?}");
            return;
        }
    }
    panic!("no day was lost in {TRIALS} trials");
}
on_each_database!(status_check_loses_reports);

async fn permit_imports_everything<B: Base>() {
    let Some(bed) = scene::bed::<B>().await else {
        return;
    };
    let outcome = trial(&bed, Variant::Permit).await;
    assert!(outcome.is_right(), "{outcome:#?}");
    assert_eq!((outcome.imported_days, outcome.seen.refused), (60, 0));
    assert_eq!(outcomes(&bed).await, ["SUCCESS"; RUNS]);

    // Each line is the one that the API had.
    for account in PLAN.accounts {
        for day in 1..=PLAN.days_of_account() {
            let question = format!(
                "select impressions from ad_report where account_id = {account} and day = {day} \
                 order by campaign"
            );
            let found = bed.control_ints(&question).await;
            let lines = lines_of(account, day);
            let expected: Vec<_> = lines.iter().map(|line| line.impressions).collect();
            assert_eq!(found, expected, "account {account}, day {day}");
        }
    }

    // One at a time for each account, in the order of asking.
    assert_eq!(states(&bed).await, ["DONE"; RUNS]);
    let pushed_in = bed.control_ints(
        "select count(*) from tx_ticket a join tx_ticket b on a.name = b.name and a.id < b.id \
         where a.ended > b.started",
    );
    assert_eq!(pushed_in.await, [0]);
    let processes = bed.control_ints("select count(distinct process) from tx_ticket");
    assert_eq!(processes.await, [2]);
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(permit_imports_everything);
