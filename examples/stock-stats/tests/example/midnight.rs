//! One midnight, step by step: what becomes of the day that is closed.

use stock_stats::batches::GROUP;
use stock_stats::error::Error;
use stock_stats::pace::{Pace, Step, Unpaced};
use stock_stats::variant::{Server, Variant};
use tokio::sync::Notify;
use tx_runtime::Lock;
use tx_tests::{Bed, on_each_database};

use crate::market::{self, Base, FIRST, SECOND, rows, until_states};

/// Holds a refresh up at one step.
struct Gate {
    step: Step,
    reached: Notify,
    opened: Notify,
}

impl Gate {
    fn at(step: Step) -> Self {
        Self {
            step,
            reached: Notify::new(),
            opened: Notify::new(),
        }
    }
}

impl Pace for Gate {
    async fn at(&self, step: Step) {
        if step == self.step {
            self.reached.notify_one();
            self.opened.notified().await;
        }
    }
}

/// A refresh reads which day it is; the day is closed; the refresh writes.
async fn closed_between_reading_and_writing<B: Base>(
    bed: &Bed<B>,
    variant: Variant,
) -> Result<(), Error> {
    let server = market::server(bed, variant);
    market::open(&server).await;
    let (as_closed, _) = rows(bed, FIRST).await;
    let gate = Gate::at(Step::Read);
    let (refreshed, opened) = tokio::join!(server.refresh(&gate), async {
        gate.reached.notified().await;
        let opened = server.open_day(SECOND).await;
        gate.opened.notify_one();
        opened
    });
    opened.expect("a day");
    let (_, openings) = rows(bed, SECOND).await;
    assert_eq!(openings, as_closed);
    refreshed
}

async fn log<B: Base>(bed: &Bed<B>) -> Vec<String> {
    bed.control_texts("select state from stock_batch_log").await
}

async fn the_incident_overwrites_the_closed_day<B: Base>() {
    let Some(bed) = market::bed::<B>().await else {
        return;
    };
    let refreshed = closed_between_reading_and_writing(&bed, Variant::Overlapping).await;
    refreshed.expect("it does not notice");
    let (worths, _) = rows(&bed, FIRST).await;
    let (_, as_closed) = rows(&bed, SECOND).await;
    assert_ne!(worths, as_closed, "the closed day is as it was closed");
    assert_eq!(log(&bed).await, ["SUCCEEDED"; 4]);
    bed.finish().await;
}
on_each_database!(the_incident_overwrites_the_closed_day);

/// SQLite does not let a transaction write after what it has read was changed.
async fn one_transaction_does_not_help_on_servers<B: Base>() {
    let Some(bed) = market::bed::<B>().await else {
        return;
    };
    let refreshed = closed_between_reading_and_writing(&bed, Variant::InOneTransaction).await;
    let (worths, _) = rows(&bed, FIRST).await;
    let (_, as_closed) = rows(&bed, SECOND).await;
    let mut log = log(&bed).await;
    log.sort();
    if B::SERVER {
        refreshed.expect("it does not notice");
        assert_ne!(worths, as_closed, "the closed day is as it was closed");
        assert_eq!(log, ["SUCCEEDED"; 4]);
    } else {
        let error = refreshed.expect_err("it notices").to_string();
        assert!(error.contains("database is locked"), "{error}");
        assert_eq!(worths, as_closed);
        assert_eq!(log, ["FAILED", "SUCCEEDED", "SUCCEEDED", "SUCCEEDED"]);
    }
    bed.finish().await;
}
on_each_database!(one_transaction_does_not_help_on_servers);

/// The day is closed after the refresh, with what that has written.
async fn a_day_is_not_closed_during_a_refresh<B: Base>() {
    let Some(bed) = market::bed::<B>().await else {
        return;
    };
    let server = market::server(&bed, Variant::Grouped);
    let other = market::elsewhere(&bed, Variant::Grouped).await;
    market::open(&server).await;
    let (before, _) = rows(&bed, FIRST).await;
    let gate = Gate::at(Step::Begun);
    let (refreshed, opened, ()) = tokio::join!(
        server.refresh(&gate),
        async {
            gate.reached.notified().await;
            other.open_day(SECOND).await
        },
        async {
            until_states(&bed, &["DONE", "DONE", "RUNNING", "WAITING"]).await;
            gate.opened.notify_one();
        }
    );
    refreshed.expect("a refresh");
    opened.expect("a day");
    let (worths, _) = rows(&bed, FIRST).await;
    assert_ne!(worths, before, "the prices have moved");
    assert_eq!(rows(&bed, SECOND).await, (worths.clone(), worths));
    assert_eq!(market::states(&bed).await, ["DONE"; 4]);
    finish(bed, other).await;
}
on_each_database!(a_day_is_not_closed_during_a_refresh);

/// The refresh reads which day it is when it is its turn.
async fn a_refresh_behind_the_closing_writes_the_next_day<B: Base>() {
    let Some(bed) = market::bed::<B>().await else {
        return;
    };
    let server = market::server(&bed, Variant::Grouped);
    let other = market::elsewhere(&bed, Variant::Grouped).await;
    market::open(&server).await;
    let (before, _) = rows(&bed, FIRST).await;
    let group = Lock::key(GROUP).on(&market::tickets(&bed.db));
    let (waiting, asked) = (Notify::new(), Notify::new());
    let held = bed.db.locked(group, async || {
        waiting.notify_one();
        until_states(&bed, &["DONE", "DONE", "RUNNING", "WAITING"]).await;
        asked.notify_one();
        until_states(&bed, &["DONE", "DONE", "RUNNING", "WAITING", "WAITING"]).await;
        Ok::<_, tx_runtime::Error>(())
    });
    let (held, opened, refreshed) = tokio::join!(
        held,
        async {
            waiting.notified().await;
            server.open_day(SECOND).await
        },
        async {
            asked.notified().await;
            other.refresh(&Unpaced).await
        },
    );
    held.expect("the group");
    opened.expect("a day");
    refreshed.expect("a refresh");
    assert_eq!(
        rows(&bed, FIRST).await.0,
        before,
        "the closed day has changed"
    );
    let (worths, openings) = rows(&bed, SECOND).await;
    assert_eq!(openings, before);
    assert_ne!(worths, openings, "the prices have moved");
    assert_eq!(market::states(&bed).await, ["DONE"; 5]);
    finish(bed, other).await;
}
on_each_database!(a_refresh_behind_the_closing_writes_the_next_day);

async fn finish<B: Base>(bed: Bed<B>, other: Server<B>) {
    market::stop(other).await;
    bed.assert_clean().await;
    bed.finish().await;
}
