//! An import that fails says so, and leaves the account as the next one needs it.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ad_reports::api::Api;
use ad_reports::run::Path;
use axum::http::StatusCode;
use tx_tests::on_each_database;

use crate::scene::{self, Base, WORK, import, lines, outcomes, serve, states};

async fn the_next_one_succeeds<B: Base>() {
    let Some(bed) = scene::bed::<B>().await else {
        return;
    };
    let api = Api::new(WORK);
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = Arc::clone(&is_broken);
    let router = scene::before_each(&api, move |is_download| {
        let fails = is_download && broken.load(Ordering::Relaxed);
        ready(fails.then_some(StatusCode::BAD_GATEWAY))
    });
    let server = serve(router).await;
    for path in [Path::Manual, Path::Nightly] {
        import(&bed.db, &server, &[path]).await;
        assert_eq!(api.list(7), [], "no report is left behind");
    }
    let failed = "FAILED: the API answered 502 Bad Gateway";
    assert_eq!(outcomes(&bed).await, [failed; 2]);
    assert_eq!(
        (states(&bed).await, lines(&bed).await),
        (vec!["FAILED".to_owned(); 2], 0)
    );

    is_broken.store(false, Ordering::Relaxed);
    import(&bed.db, &server, &[Path::Manual]).await;
    assert_eq!(outcomes(&bed).await, [failed, failed, "SUCCESS"]);
    assert_eq!(lines(&bed).await, 6);
    assert_eq!(api.seen().overlapping_sessions, 0);
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(the_next_one_succeeds);
