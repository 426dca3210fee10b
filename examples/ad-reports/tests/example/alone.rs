//! No transaction is open, and no connection in use, while the API is busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ad_reports::api::{Api, Server};
use ad_reports::client::Client;
use ad_reports::error::Error;
use ad_reports::run::Path;
use ad_reports::tickets;
use tokio::time::sleep;
use tx_tests::{Bed, on_each_database};

use crate::scene::{self, Base, WORK, import, lines, run, serve, states};

/// How long a database that is not to be in use may be, for heartbeats and other short statements.
const SETTLING: Duration = Duration::from_mins(1);

/// The same for one that stays in use until the answer is there.
const LOOKING: Duration = Duration::from_secs(3);

/// What somebody outside has seen of the database while the API had a request.
#[derive(Debug, Default)]
struct Looks {
    requests: AtomicUsize,
    /// Of them, those during which the database was in use all the time.
    in_use: AtomicUsize,
}

impl Looks {
    fn counts(&self) -> (usize, usize) {
        let count = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        (count(&self.requests), count(&self.in_use))
    }
}

/// An API that answers a request when somebody has seen that the database is not in use, or is
/// convinced that it will be until the answer is there.
async fn watchful<B: Base>(
    api: &Api,
    bed: &Arc<Bed<B>>,
    patience: Duration,
) -> (Server, Arc<Looks>) {
    let looks = Arc::new(Looks::default());
    let (bed, look) = (Arc::clone(bed), Arc::clone(&looks));
    let router = scene::before_each(api, move |_| {
        let (bed, look) = (Arc::clone(&bed), Arc::clone(&look));
        async move {
            look.requests.fetch_add(1, Ordering::Relaxed);
            // Convinced once is enough.
            let patience = match look.in_use.load(Ordering::Relaxed) {
                0 => patience,
                _ => Duration::ZERO,
            };
            let deadline = Instant::now() + patience;
            while is_in_use(&bed).await {
                if Instant::now() > deadline {
                    look.in_use.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                sleep(Duration::from_millis(2)).await;
            }
            None
        }
    });
    (serve(router).await, looks)
}

async fn is_in_use<B: Base>(bed: &Bed<B>) -> bool {
    let pool = bed.db.pool();
    pool.num_idle() < pool.size() as usize || bed.open_transactions().await > 0
}

async fn no_transaction_is_open_during_a_call<B: Base>() {
    let Some(bed) = scene::bed::<B>().await else {
        return;
    };
    let (bed, api) = (Arc::new(bed), Api::new(WORK));
    let (server, looks) = watchful(&api, &bed, SETTLING).await;
    import(&bed.db, &server, &[Path::Manual, Path::Nightly]).await;
    let (requests, in_use) = looks.counts();
    assert!(requests >= 12, "{looks:?}");
    assert_eq!(in_use, 0, "{looks:?}");
    assert_eq!(states(&bed).await, ["DONE"; 2]);
    assert_eq!(lines(&bed).await, 6);
    bed.assert_clean().await;
}
on_each_database!(no_transaction_is_open_during_a_call);

/// So the test above can fail.
async fn an_open_transaction_is_seen<B: Base>() {
    let Some(bed) = scene::bed::<B>().await else {
        return;
    };
    let (bed, api) = (Arc::new(bed), Api::new(WORK));
    let (server, looks) = watchful(&api, &bed, LOOKING).await;
    let client = Client::guarded(server.address(), 7, &tickets::of(&bed.db));
    let fetched = client.with("carelessly", async |permit| {
        bed.db
            .transaction(async || {
                bed.insert(1).await?;
                let days = run(Path::Manual).days;
                Ok::<_, Error>(permit.client().session().fetch(days).await?)
            })
            .await
    });
    assert_eq!(fetched.await.expect("reports").len(), 6);
    let (requests, in_use) = looks.counts();
    assert_eq!(requests, in_use, "all of them: {looks:?}");
    bed.assert_clean().await;
}
on_each_database!(an_open_transaction_is_seen);
