//! What the routes accept and answer.

use std::time::Duration;

use hyper::Method;
use hyper::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use interest_asset::variant::Variant;
use serde_json::{Value, json};
use sqlx::pool::PoolOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Sqlite};
use tx_runtime::Db;
use tx_tests::{Backend as _, Bed, on_each_database};

use crate::scene::{self, Base, User, problem, start, stop};

async fn shown(user: &mut User, path: &str) -> Value {
    let answer = user.send(Method::GET, path).await;
    assert_eq!(answer.status.as_u16(), 200, "{path}");
    assert_eq!(answer.headers[CONTENT_TYPE], "application/json");
    scene::json(&answer)
}

async fn an_asset_comes_and_goes<B: Base>() {
    for variant in [Variant::Isolated, Variant::OneTransaction] {
        let Some(bed) = scene::bed::<B>().await else {
            return;
        };
        let server = start(&bed.db, variant).await;
        let user = &mut User::of(&server);
        let (all, one) = (
            "/accounts/7/interest-assets",
            "/accounts/7/interest-assets/52",
        );

        assert_eq!(
            shown(user, all).await,
            json!({ "account": 7, "assets": [] })
        );
        user.refused(Method::GET, one, 404).await;
        user.refused(Method::DELETE, one, 404).await;

        assert_eq!(user.status(Method::PUT, one).await, 201);
        assert_eq!(user.status(Method::PUT, one).await, 204);
        let other = "/accounts/7/interest-assets/418";
        assert_eq!(user.status(Method::PUT, other).await, 201);
        assert_eq!(
            shown(user, all).await,
            json!({ "account": 7, "assets": [52, 418] })
        );
        assert_eq!(
            shown(user, one).await,
            json!({ "account": 7, "asset": 52, "notification": true })
        );
        assert_eq!(
            shown(user, "/accounts/8/interest-assets").await,
            json!({ "account": 8, "assets": [] })
        );

        assert_eq!(user.status(Method::DELETE, one).await, 204);
        let detail = user.refused(Method::DELETE, one, 404).await;
        assert_eq!(detail, "account 7 has no interest asset 52");
        assert_eq!(
            shown(user, all).await,
            json!({ "account": 7, "assets": [418] })
        );
        let notified = bed.control_ints("select asset_id from notification").await;
        assert_eq!(notified, [418]);
        stop(server).await;
        bed.assert_clean().await;
        bed.finish().await;
    }
}
on_each_database!(an_asset_comes_and_goes);

/// In one transaction an asset and its notification come and go together, whoever taps when.
async fn notifications_go_with_their_assets<B: Base>() {
    let Some(bed) = scene::bed::<B>().await else {
        return;
    };
    let server = start(&bed.db, Variant::OneTransaction).await;
    let taps = (0..16).map(|tap: usize| {
        let mut user = User::of(&server);
        async move {
            for round in 0..20 {
                let asset = [3, 52, 77][(tap + round) % 3];
                let method = [Method::PUT, Method::DELETE][(tap / 2 + round) % 2].clone();
                let path = format!("/accounts/1/interest-assets/{asset}");
                let status = user.status(method, &path).await;
                assert!(matches!(status, 201 | 204 | 404), "{path}: {status}");
            }
        }
    });
    let taps: tokio::task::JoinSet<()> = taps.collect();
    taps.join_all().await;
    stop(server).await;

    let rows = bed.control_texts("select assets from interest_asset").await;
    let [row] = &rows[..] else {
        panic!("one row, not {rows:?}");
    };
    let listed = row.split(',').filter(|text| !text.is_empty());
    let mut listed: Vec<i64> = listed.map(|text| text.parse().expect(row)).collect();
    listed.sort_unstable();
    let notified = "select asset_id from notification order by asset_id";
    assert_eq!(listed, bed.control_ints(notified).await);
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(notifications_go_with_their_assets);

async fn sqlite_bed() -> Bed<Sqlite> {
    scene::bed().await.expect("SQLite is always there")
}

#[tokio::test]
async fn numbers_are_checked() {
    let bed = sqlite_bed().await;
    let server = start(&bed.db, Variant::Isolated).await;
    let user = &mut User::of(&server);
    let wrong = [
        "0",
        "-1",
        "007",
        "+7",
        "7.0",
        "seven",
        "9007199254740992",
        "%20",
        "1%3B",
    ];
    for wrong in wrong {
        let all = format!("/accounts/{wrong}/interest-assets");
        let detail = user.refused(Method::GET, &all, 400).await;
        assert!(detail.contains("is not an account"), "{all}: {detail}");
        for (path, part) in [
            (format!("{all}/52"), "account"),
            (format!("/accounts/7/interest-assets/{wrong}"), "asset"),
        ] {
            for method in [Method::GET, Method::PUT, Method::DELETE] {
                let detail = user.refused(method, &path, 400).await;
                let reason = format!("is not an {part}: expected a whole number from 1");
                assert!(detail.contains(&reason), "{path}: {detail}");
            }
        }
    }
    let undecodable = "/accounts/%FF/interest-assets/52";
    user.refused(Method::PUT, undecodable, 400).await;
    let largest = "/accounts/9007199254740991/interest-assets/9007199254740991";
    assert_eq!(user.status(Method::PUT, largest).await, 201);
    assert_eq!(
        bed.control_ints("select count(*) from interest_asset")
            .await,
        [1]
    );
    stop(server).await;
}

#[tokio::test]
async fn other_paths_and_methods_are_problems_too() {
    let bed = sqlite_bed().await;
    let server = start(&bed.db, Variant::Isolated).await;
    let user = &mut User::of(&server);
    for path in [
        "/",
        "/accounts",
        "/accounts/7",
        "/accounts/7/interest-assets/52/",
    ] {
        let detail = user.refused(Method::GET, path, 404).await;
        assert_eq!(detail, format!("there is nothing at {path}"));
    }
    let path = "/accounts/7/interest-assets/52";
    let answer = user.send(Method::POST, path).await;
    assert_eq!(answer.status.as_u16(), 405);
    assert_eq!(problem(&answer), format!("{path} does not take POST"));
    let allowed = answer.headers[ALLOW].to_str().expect("names of methods");
    for method in ["GET", "PUT", "DELETE"] {
        assert!(allowed.contains(method), "{allowed}");
    }
    stop(server).await;
}

#[tokio::test]
async fn a_full_account_takes_no_more() {
    let bed = sqlite_bed().await;
    let assets: Vec<_> = (1..=500).map(|asset: i64| asset.to_string()).collect();
    let row = format!(
        "insert into interest_asset (account_id, assets) values (7, '{}')",
        assets.join(",")
    );
    bed.control(&row).await;
    let server = start(&bed.db, Variant::OneTransaction).await;
    let user = &mut User::of(&server);
    let detail = user
        .refused(Method::PUT, "/accounts/7/interest-assets/501", 409)
        .await;
    assert!(detail.contains("500 assets"), "{detail}");
    assert_eq!(
        user.status(Method::PUT, "/accounts/7/interest-assets/500")
            .await,
        204
    );
    let notified = bed.control_ints("select asset_id from notification").await;
    assert_eq!(notified, [500], "what was refused left no notification");
    stop(server).await;
}

#[tokio::test]
async fn a_duplicate_row_is_told_and_a_database_error_is_not() {
    let bed = sqlite_bed().await;
    bed.control("insert into interest_asset (account_id, assets) values (7, '52'), (7, '52')")
        .await;
    let server = start(&bed.db, Variant::Isolated).await;
    let user = &mut User::of(&server);
    let path = "/accounts/7/interest-assets";
    let detail = user.refused(Method::GET, path, 500).await;
    assert_eq!(detail, "query did not return a unique result: 2");

    bed.control("drop table interest_asset").await;
    let detail = user.refused(Method::GET, path, 500).await;
    assert!(!detail.contains("interest_asset"), "{detail}");
    stop(server).await;
}

#[tokio::test]
async fn a_busy_database_asks_for_patience() {
    let bed = sqlite_bed().await;
    let impatient: SqliteConnectOptions = bed
        .options()
        .clone()
        .busy_timeout(Duration::from_millis(50));
    let db = Db::<Sqlite>::connect_with(PoolOptions::new(), impatient.clone())
        .await
        .expect("a pool");
    let server = start(&db, Variant::Isolated).await;
    let mut writer = impatient.connect().await.expect("a connection");
    Sqlite::raw(&mut writer, "begin immediate")
        .await
        .expect("the write lock");

    let user = &mut User::of(&server);
    let path = "/accounts/7/interest-assets/52";
    let answer = user.send(Method::PUT, path).await;
    assert_eq!(answer.status.as_u16(), 503);
    assert!(problem(&answer).contains("try again"));
    assert_eq!(answer.headers[RETRY_AFTER], "1");

    Sqlite::raw(&mut writer, "rollback")
        .await
        .expect("the write lock is free");
    assert_eq!(user.status(Method::PUT, path).await, 201);
    stop(server).await;
    db.pool().close().await;
}
