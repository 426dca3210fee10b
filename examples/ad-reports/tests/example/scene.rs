//! The importer on a database of its own, the API on a port, and somebody outside who looks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ad_reports::api::{Api, Server};
use ad_reports::run::{Path, Run};
use ad_reports::store::Store;
use ad_reports::tickets;
use ad_reports::variant::{Importer, Variant};
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use sqlx::pool::PoolOptions;
use tokio::time::sleep;
use tx_runtime::Db;
use tx_tests::{Backend, Bed};

/// What takes longer does not come.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// How long the API works on the report of the first day, unless a test says otherwise.
pub(crate) const WORK: Duration = Duration::from_millis(20);

/// How often a trial is held until the fault shows: on a busy machine sessions that overlap can
/// still all be lucky.
pub(crate) const TRIALS: usize = 5;

/// A database that the example runs on and the harness knows.
pub(crate) trait Base: Backend + Store {}

impl<B: Backend + Store> Base for B {}

/// A bed with the example's tables in it; `None` where there is no server.
pub(crate) async fn bed<B: Base>() -> Option<Bed<B>> {
    let bed = Bed::connected(4).await?;
    B::create_tables(bed.db.pool()).await.expect("the tables");
    let created = tickets::of(&bed.db).create_tables().await;
    created.expect("the tables of the tickets");
    Some(bed)
}

/// A second process, as far as the database can tell.
pub(crate) async fn elsewhere<B: Base>(bed: &Bed<B>) -> Db<B> {
    let pool = PoolOptions::new().max_connections(4);
    let db = Db::connect_with(pool, bed.options().clone()).await;
    db.expect("a further pool")
}

/// The API on a port.
pub(crate) async fn serve(router: Router) -> Server {
    Server::start(router).await.expect("a free port")
}

/// The API's routes. Before each request `first` is told whether a report is to be downloaded;
/// a status that it gives is the answer.
pub(crate) fn before_each<F, O>(api: &Api, first: F) -> Router
where
    F: Fn(bool) -> O + Send + Sync + 'static,
    O: Future<Output = Option<StatusCode>> + Send,
{
    let first = Arc::new(first);
    let layer = from_fn(move |request: Request, next: Next| {
        let first = Arc::clone(&first);
        async move {
            let is_download = !request.uri().path().ends_with("/reports");
            match first(is_download).await {
                Some(status) => status.into_response(),
                None => next.run(request).await,
            }
        }
    });
    api.router().layer(layer)
}

/// Days 1 and 2 of account 7.
pub(crate) fn run(path: Path) -> Run {
    Run {
        account: 7,
        path,
        days: 1..=2,
    }
}

/// Carries out [`run`]s on these paths, all at once, with the lock of the account.
pub(crate) async fn import<B: Base>(db: &Db<B>, server: &Server, paths: &[Path]) {
    let importer = Importer::new(db, server.address(), Variant::Permit);
    let runs: Vec<_> = paths.iter().copied().map(run).collect();
    importer.import_all(&runs).await.expect("a log");
}

/// What became of all runs, in no order.
pub(crate) async fn outcomes<B: Base>(bed: &Bed<B>) -> Vec<String> {
    let mut outcomes = bed.control_texts("select outcome from ad_import").await;
    outcomes.sort_unstable();
    outcomes
}

/// The states of all tickets, in the order of asking.
pub(crate) async fn states<B: Base>(bed: &Bed<B>) -> Vec<String> {
    bed.control_texts("select state from tx_ticket order by id")
        .await
}

/// How many lines of reports are imported.
pub(crate) async fn lines<B: Base>(bed: &Bed<B>) -> i64 {
    bed.control_ints("select count(*) from ad_report").await[0]
}

/// Declares every holder of a lock dead, as somebody does who has waited for its lease.
pub(crate) async fn abandon<B: Base>(bed: &Bed<B>) {
    bed.control(
        "update tx_ticket set state = 'ABANDONED', ended = started where state = 'RUNNING'",
    )
    .await;
}

/// Waits until it is so.
pub(crate) async fn until<O: Future<Output = bool>>(what: &str, is_so: impl Fn() -> O) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
