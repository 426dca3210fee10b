//! The program itself: its two commands, from the outside.

use hyper::Method;
use interest_asset::client::Client;
use sqlx::Sqlite;
#[cfg(unix)]
use tx_tests::Running;
use tx_tests::{Bed, Program, figures};

use crate::scene::{self, STORMS};

pub(crate) const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_interest-asset"));

pub(crate) fn url(bed: &Bed<Sqlite>) -> String {
    format!("sqlite:{}", bed.options().get_filename().display())
}

/// What the table in `text` says about a variant: all but the times.
pub(crate) fn counts(text: &str, variant: &str) -> String {
    figures(text, &[variant])[..5].join(" ")
}

/// What the first command of the README prints, where it has shown all faults.
async fn storm_with_faults() -> String {
    for _ in 0..STORMS {
        // Without a database URL, too.
        let text = PROGRAM.printed(&["--accounts", "25"]).await;
        for right in ["isolated", "one-transaction"] {
            assert_eq!(counts(&text, right), "25 200 0 0 0", "{text}");
        }
        let is_harmed = |wrong: &&str| counts(&text, wrong) != "25 200 0 0 0";
        if ["no-lock", "lock-released-before-commit"]
            .iter()
            .all(is_harmed)
        {
            return text;
        }
    }
    panic!("the faults did not show in {STORMS} storms");
}

#[tokio::test]
async fn a_storm_prints_one_table() {
    let text = storm_with_faults().await;
    let heading = text.lines().nth(2).expect("a heading").split_whitespace();
    let heading: Vec<_> = heading.collect();
    assert_eq!(
        heading.join(" "),
        "variant accounts requests duplicate rows failed requests lost assets p50 p99",
        "{text}"
    );
    for wrong in ["no-lock", "lock-released-before-commit"] {
        assert!(counts(&text, wrong).starts_with("25 200 "), "{text}");
    }
}

#[tokio::test]
async fn a_storm_is_drawn() {
    let directory = tempfile::tempdir().expect("a directory");
    for (file, beginning) in [("storm.svg", "<svg "), ("storm.txt", " ")] {
        let file = directory.path().join(file);
        let path = file.to_str().expect("a path of ours");
        let command = [
            "--accounts",
            "5",
            "--variant",
            "isolated",
            "--timeline",
            path,
        ];
        let text = PROGRAM.printed(&command).await;
        assert!(text.contains("the end of it is drawn in"), "{text}");
        let picture = std::fs::read_to_string(&file).expect("it is there");
        assert!(picture.starts_with(beginning), "{picture}");
        for word in ["service::add", "lock interest-asset:", "committed"] {
            assert!(picture.contains(word), "{picture}");
        }
    }
}

#[tokio::test]
async fn a_storm_leaves_a_database_as_it_was() {
    let bed = scene::bed::<Sqlite>()
        .await
        .expect("SQLite is always there");
    bed.control("insert into interest_asset (account_id, assets) values (7, '52')")
        .await;
    bed.control("insert into notification (account_id, asset_id) values (9, 52)")
        .await;
    let url = url(&bed);
    let storm = [
        "storm",
        "--accounts",
        "5",
        "--instances",
        "2",
        "--database-url",
        &url,
    ];
    PROGRAM.printed(&storm).await;
    let accounts = bed
        .control_ints("select account_id from interest_asset")
        .await;
    assert_eq!(accounts, [7]);
    let accounts = bed
        .control_ints("select account_id from notification")
        .await;
    assert_eq!(accounts, [9]);
}

#[tokio::test]
async fn tables_of_another_make_stay_as_they_are() {
    let bed = Bed::<Sqlite>::new().await.expect("SQLite is always there");
    bed.control("create table interest_asset (mine text)").await;
    bed.control("insert into interest_asset values ('kept')")
        .await;
    let text = PROGRAM.refusal(&["--database-url", &url(&bed)]).await;
    assert!(text.contains("interest_asset already exists"), "{text}");
    let kept = bed.control_texts("select mine from interest_asset").await;
    assert_eq!(kept, ["kept"]);
}

#[tokio::test]
async fn an_unknown_option_is_refused() {
    let text = PROGRAM.refusal(&["--frobnicate"]).await;
    assert!(
        text.contains("--frobnicate") && text.contains("--help"),
        "{text}"
    );
    let text = PROGRAM.printed(&["--help"]).await;
    assert!(text.starts_with("A user double-taps"), "{text}");
}

#[cfg(not(feature = "redis"))]
#[tokio::test]
async fn without_redis_its_option_says_how_to_build_it() {
    let text = PROGRAM.refusal(&["--redis-url", "redis://127.0.0.1"]).await;
    assert!(text.contains("`--features redis`"), "{text}");
}

/// The program with the command `serve`, and a user of it.
#[cfg(unix)]
pub(crate) async fn serve(url: &str, further: &[&str]) -> (Running, Client) {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", url];
    let mut serving = PROGRAM.start(&[&serve[..], further].concat());
    let client = Client::new(serving.address().await);
    (serving, client)
}

#[cfg(unix)]
#[tokio::test]
async fn serve_creates_its_tables_and_ends_when_told() {
    let bed = Bed::<Sqlite>::new().await.expect("SQLite is always there");
    for status in [201, 204] {
        let (mut serving, mut client) = serve(&url(&bed), &[]).await;
        let answer = client
            .send(Method::PUT, "/accounts/7/interest-assets/52")
            .await;
        assert_eq!(answer.expect("an answer").status.as_u16(), status);

        // The client's connection is open, and idle.
        serving.signal("TERM");
        assert_eq!(serving.line().await, "stopping");
        let ended = serving.ended().await;
        assert!(ended.success(), "{ended}");
    }
    let rows = bed.control_texts("select assets from interest_asset").await;
    assert_eq!(rows, ["52"]);
    bed.assert_clean().await;
}
