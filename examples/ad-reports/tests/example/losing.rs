//! An import whose lock is lost while it goes on: it ends, stores nothing and deletes nothing.

use std::sync::Arc;
use std::time::Duration;

use ad_reports::api::Api;
use ad_reports::run::Path;
use tokio::time::timeout;
use tx_tests::{Bed, on_each_database};

use crate::scene::{
    self, Base, PATIENCE, WORK, abandon, import, lines, outcomes, serve, states, until,
};

async fn assert_nothing_done<B: Base>(bed: &Bed<B>, api: &Api) {
    assert_eq!(lines(bed).await, 0);
    assert_eq!(api.list(7).len(), 2, "the reports are not ours to delete");
    let outcomes = outcomes(bed).await;
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    assert!(outcomes[0].starts_with("FAILED: "), "{outcomes:?}");
    assert!(outcomes[0].contains("lost"), "{outcomes:?}");
    assert_eq!(states(bed).await, ["ABANDONED"]);
    bed.assert_clean().await;
}

/// The API works on the reports for longer than anybody waits.
async fn while_the_api_is_busy<B: Base>(path: Path) {
    let Some(bed) = scene::bed::<B>().await else {
        return;
    };
    let api = Api::new(Duration::from_hours(1));
    let server = serve(api.router()).await;
    let runs = [path];
    let importing = timeout(PATIENCE, import(&bed.db, &server, &runs));
    let losing = async {
        until("both reports are at work", async || api.seen().created == 2).await;
        abandon(&bed).await;
    };
    let (ended, ()) = tokio::join!(importing, losing);
    ended.expect("the import ends");
    assert_nothing_done(&bed, &api).await;
    bed.finish().await;
}

async fn by_hand_while_the_api_is_busy<B: Base>() {
    while_the_api_is_busy::<B>(Path::Manual).await;
}
on_each_database!(by_hand_while_the_api_is_busy);

async fn at_night_while_the_api_is_busy<B: Base>() {
    while_the_api_is_busy::<B>(Path::Nightly).await;
}
on_each_database!(at_night_while_the_api_is_busy);

/// The lock is lost with the last report on its way: what was fetched is not stored.
async fn before_it_is_stored<B: Base>(path: Path) {
    let Some(bed) = scene::bed::<B>().await else {
        return;
    };
    let (bed, api) = (Arc::new(bed), Api::new(WORK));
    let outside = Arc::clone(&bed);
    let router = scene::before_each(&api, move |is_download| {
        let outside = Arc::clone(&outside);
        async move {
            if is_download {
                abandon(&outside).await;
            }
            None
        }
    });
    let server = serve(router).await;
    import(&bed.db, &server, &[path]).await;
    assert_nothing_done(&bed, &api).await;
}

async fn by_hand_before_it_is_stored<B: Base>() {
    before_it_is_stored::<B>(Path::Manual).await;
}
on_each_database!(by_hand_before_it_is_stored);

async fn at_night_before_it_is_stored<B: Base>() {
    before_it_is_stored::<B>(Path::Nightly).await;
}
on_each_database!(at_night_before_it_is_stored);
