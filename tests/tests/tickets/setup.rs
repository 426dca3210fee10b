//! What the tests stand on: the tables, and two providers that could be two processes.

use std::time::{Duration, Instant};

use sqlx::pool::PoolOptions;
use tokio::time::sleep;
use tx_runtime::{Db, Lock, TicketLocks};
use tx_tests::{Backend, Bed};

/// What takes longer does not come.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Often enough that tests need not wait.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// With the tables of tickets.
pub(crate) async fn ticketed<B: Backend>() -> Option<Bed<B>> {
    let bed = Bed::<B>::new().await?;
    tickets(&bed).create_tables().await.expect("the tables");
    Some(bed)
}

/// Tickets of a process of its own, over the bed's pool.
pub(crate) fn tickets<B: Backend>(bed: &Bed<B>) -> TicketLocks<B> {
    TicketLocks::new(&bed.db).poll(POLL)
}

/// A process of its own, with a pool of its own.
pub(crate) fn elsewhere<B: Backend>(bed: &Bed<B>) -> (Db<B>, TicketLocks<B>) {
    let pool = PoolOptions::new().max_connections(3);
    let db = Db::new(pool.connect_lazy_with(bed.options().clone()));
    let tickets = TicketLocks::new(&db).poll(POLL);
    (db, tickets)
}

/// The lock `k`.
pub(crate) fn k<B: Backend>(tickets: &TicketLocks<B>) -> Lock {
    Lock::key("k").on(tickets).wait(PATIENCE)
}

/// The states of all tickets, in the order of asking, as somebody else sees them.
pub(crate) async fn states<B: Backend>(bed: &Bed<B>) -> Vec<String> {
    bed.control_texts("select state from tx_ticket order by id")
        .await
}

/// The errors of all tickets.
pub(crate) async fn errors<B: Backend>(bed: &Bed<B>) -> Vec<String> {
    bed.control_texts("select error from tx_ticket order by id")
        .await
}

/// Has every process count as dead.
pub(crate) async fn silence<B: Backend>(bed: &Bed<B>) {
    bed.control("update tx_ticket_process set heartbeat = '2001-01-01 00:00:00'")
        .await;
}

/// Waits until the tickets are in these states.
pub(crate) async fn until_states<B: Backend>(bed: &Bed<B>, expected: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = states(bed).await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}, not {expected:?}");
        sleep(Duration::from_millis(5)).await;
    }
}
