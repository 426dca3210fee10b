//! Many midnights, with nobody in control of who comes first.

use stage::ProgressBar;
use stock_stats::report::Report;
use stock_stats::trial::{self, Size};
use stock_stats::variant::Variant;
use tx_tests::{Bed, on_each_database};

use crate::market::{self, Base};

const SIZE: Size = Size {
    days: 20,
    refreshes: 2,
    users: 20,
};

/// How often a trial is held until the fault shows: who comes first at a midnight is chance, and on
/// a busy machine it can be the same every time.
pub(crate) const TRIALS: usize = 10;

/// Holds trials until one is as `shows` says, and gives it.
async fn until<B: Base>(bed: &Bed<B>, variant: Variant, shows: impl Fn(&Report) -> bool) -> Report {
    for _ in 0..TRIALS {
        let report = trial(bed, variant).await;
        if shows(&report) {
            return report;
        }
    }
    panic!("{variant}: the fault did not show in {TRIALS} trials");
}

async fn trial<B: Base>(bed: &Bed<B>, variant: Variant) -> Report {
    let servers = [
        market::server(bed, variant),
        market::elsewhere(bed, variant).await,
    ];
    let report = trial::run(&servers, SIZE, 7, &ProgressBar::hidden()).await;
    let [_, other] = servers;
    market::stop(other).await;
    let report = report.unwrap_or_else(|error| panic!("{variant}: {error}"));
    assert_eq!((report.days, report.refreshes), (20, 40), "{report:?}");
    let left = bed.control_ints("select count(*) from stock_statistics");
    assert_eq!(left.await, [0], "the tables are not empty");
    report
}

async fn grouped_batches_do_no_harm<B: Base>() {
    let Some(bed) = market::bed::<B>().await else {
        return;
    };
    let report = trial(&bed, Variant::Grouped).await;
    assert_eq!(report.faults(), 0, "{report:?}");
    // The first day is opened before the first midnight.
    assert_eq!(market::states(&bed).await, ["DONE"; 20 + 40 + 1]);
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(grouped_batches_do_no_harm);

async fn overlapping_batches_show_the_fault<B: Base>() {
    let Some(bed) = market::bed::<B>().await else {
        return;
    };
    let overwrites = |report: &Report| report.overwritten_days > 0;
    let report = until(&bed, Variant::Overlapping, overwrites).await;
    assert!(report.wrong_rows >= report.overwritten_days, "{report:?}");
    assert_eq!(
        report.untrue_successes, report.overwritten_days,
        "{report:?}"
    );
    bed.finish().await;
}
on_each_database!(overlapping_batches_show_the_fault);

/// SQLite notices, and fails the refresh.
async fn one_transaction_shows_the_fault<B: Base>() {
    let Some(bed) = market::bed::<B>().await else {
        return;
    };
    if B::SERVER {
        let overwrites = |report: &Report| report.overwritten_days > 0;
        until(&bed, Variant::InOneTransaction, overwrites).await;
    } else {
        let fails = |report: &Report| {
            assert_eq!(report.overwritten_days, 0, "{report:?}");
            report.failed_runs > 0
        };
        until(&bed, Variant::InOneTransaction, fails).await;
    }
    bed.finish().await;
}
on_each_database!(one_transaction_shows_the_fault);
