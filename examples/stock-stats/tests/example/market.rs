//! A market on a database of its own, with two processes that run batches.

use std::time::{Duration, Instant};

use chrono::NaiveDate;
use sqlx::pool::PoolOptions;
use stock_stats::feed::Feed;
use stock_stats::market;
use stock_stats::pace::Unpaced;
use stock_stats::store::Store;
use stock_stats::variant::{Server, Variant};
use tokio::time::sleep;
use tx_runtime::{Db, TicketLocks};
use tx_tests::{Backend, Bed};

/// A database that the example runs on and the harness knows.
pub(crate) trait Base: Backend + Store {}

impl<B: Backend + Store> Base for B {}

/// The day that is open in the beginning, and the next.
pub(crate) const FIRST: NaiveDate = NaiveDate::from_ymd_opt(2026, 1, 1).expect("a day");
pub(crate) const SECOND: NaiveDate = NaiveDate::from_ymd_opt(2026, 1, 2).expect("a day");

/// Often enough that tests need not wait.
const POLL: Duration = Duration::from_millis(10);

/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_mins(1);

/// A bed with the example's tables in it; `None` where there is no server.
pub(crate) async fn bed<B: Base>() -> Option<Bed<B>> {
    let bed = Bed::connected(4).await?;
    B::create_tables(bed.db.pool()).await.expect("the tables");
    let tickets = TicketLocks::new(&bed.db);
    tickets.create_tables().await.expect("the tables");
    Some(bed)
}

/// A process on the bed's pool.
pub(crate) fn server<B: Base>(bed: &Bed<B>, variant: Variant) -> Server<B> {
    Server::new(variant, bed.db.clone(), tickets(&bed.db))
}

/// A process with a pool of its own.
pub(crate) async fn elsewhere<B: Base>(bed: &Bed<B>, variant: Variant) -> Server<B> {
    let pool = PoolOptions::new().max_connections(4);
    let db = Db::connect_with(pool, bed.options().clone()).await;
    let db = db.expect("a further pool");
    Server::new(variant, db.clone(), tickets(&db))
}

/// Ends what [`elsewhere`] began.
pub(crate) async fn stop<B: Base>(server: Server<B>) {
    server.db().drain().await;
    server.db().pool().close().await;
}

pub(crate) fn tickets<B: Base>(db: &Db<B>) -> TicketLocks<B> {
    TicketLocks::new(db).poll(POLL)
}

/// Opens the first day and refreshes it, and then moves the prices.
pub(crate) async fn open<B: Base>(server: &Server<B>) {
    let pool = server.db().pool();
    market::fill(pool, 5, 7).await.expect("a market");
    server.open_day(FIRST).await.expect("a day");
    server.refresh(&Unpaced).await.expect("a refresh");
    Feed::new(7).tick(pool).await.expect("other prices");
}

/// What the users are worth on `day`, and what they began it with, as somebody else sees it.
pub(crate) async fn rows<B: Base>(bed: &Bed<B>, day: NaiveDate) -> (Vec<i64>, Vec<i64>) {
    let of = |what| {
        format!("select {what}_cents from stock_statistics where day = '{day}' order by user_id")
    };
    let worths = bed.control_ints(&of("worth")).await;
    (worths, bed.control_ints(&of("opening")).await)
}

/// Waits until the tickets are in these states, in the order of asking.
pub(crate) async fn until_states<B: Base>(bed: &Bed<B>, expected: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = states(bed).await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}, not {expected:?}");
        sleep(POLL).await;
    }
}

/// The states of all tickets, in the order of asking.
pub(crate) async fn states<B: Base>(bed: &Bed<B>) -> Vec<String> {
    bed.control_texts("select state from tx_ticket order by id")
        .await
}
