//! The program itself: its two commands, from the outside.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use hyper::Method;
use interest_asset::client::Client;
use sqlx::Sqlite;
use tx_tests::Bed;

use crate::scene::{self, STORMS};

const PROGRAM: &str = env!("CARGO_BIN_EXE_interest-asset");

pub(crate) async fn run(arguments: &[&str]) -> Output {
    let arguments: Vec<_> = arguments
        .iter()
        .map(OsStr::new)
        .map(OsStr::to_owned)
        .collect();
    let run = move || Command::new(PROGRAM).args(arguments).output();
    let ran = tokio::task::spawn_blocking(run).await.expect("no panic");
    ran.expect("the program starts")
}

pub(crate) fn url(bed: &Bed<Sqlite>) -> String {
    format!("sqlite:{}", bed.options().get_filename().display())
}

/// What the table in `text` says about a variant: all but the times.
pub(crate) fn counts(text: &str, variant: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut lines = lines.filter(|line| line.first() == Some(&variant));
    let line = lines
        .next()
        .unwrap_or_else(|| panic!("no {variant}: {text}"));
    assert!(lines.next().is_none(), "{text}");
    line[1..6].join(" ")
}

/// What the first command of the README prints, where it has shown all faults.
async fn storm_with_faults() -> String {
    for _ in 0..STORMS {
        // Without a database URL, too.
        let output = run(&["--accounts", "25"]).await;
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{text}");
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
    let output = run(&storm).await;
    assert!(output.status.success(), "{output:?}");
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
    let output = run(&["--database-url", &url(&bed)]).await;
    assert!(!output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("interest_asset already exists"), "{text}");
    let kept = bed.control_texts("select mine from interest_asset").await;
    assert_eq!(kept, ["kept"]);
}

#[tokio::test]
async fn an_unknown_option_is_refused() {
    let output = run(&["--frobnicate"]).await;
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(
        text.contains("--frobnicate") && text.contains("--help"),
        "{text}"
    );
    let output = run(&["--help"]).await;
    assert!(output.status.success());
    assert!(output.stdout.starts_with(b"A user double-taps"));
}

#[cfg(not(feature = "redis"))]
#[tokio::test]
async fn without_redis_its_option_says_how_to_build_it() {
    let output = run(&["--redis-url", "redis://127.0.0.1"]).await;
    assert!(!output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("`--features redis`"), "{text}");
}

/// The program with the command `serve`, killed if the test does not end it.
#[cfg(unix)]
pub(crate) struct Serving {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

#[cfg(unix)]
impl Serving {
    pub(crate) fn start(url: &str, further: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0", "--database-url", url])
            .args(further)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = child.stdout.take().expect("it is piped");
        Self {
            child,
            lines: BufReader::new(output).lines(),
        }
    }

    /// A user of the service, which has said where it listens.
    pub(crate) fn client(&mut self) -> Client {
        let line = self.line();
        let address = line.strip_prefix("listening on http://");
        Client::new(address.expect(&line).parse().expect(&line))
    }

    fn line(&mut self) -> String {
        let line = self.lines.next().expect("the program goes on");
        line.expect("text")
    }

    /// Sends what a service manager sends.
    fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        let killed = Command::new("sh").args(["-c", &kill]).status();
        assert!(killed.expect("a shell").success());
    }
}

#[cfg(unix)]
impl Drop for Serving {
    fn drop(&mut self) {
        // An error says that it has ended, as it should have.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn serve_creates_its_tables_and_ends_when_told() {
    let bed = Bed::<Sqlite>::new().await.expect("SQLite is always there");
    for status in [201, 204] {
        let mut serving = Serving::start(&url(&bed), &[]);
        let answer = serving
            .client()
            .send(Method::PUT, "/accounts/7/interest-assets/52")
            .await;
        assert_eq!(answer.expect("an answer").status.as_u16(), status);

        // The client's connection is open, and idle.
        serving.terminate();
        assert_eq!(serving.line(), "stopping");
        let ended = serving.child.wait().expect("it ends");
        assert!(ended.success(), "{ended}");
    }
    let rows = bed.control_texts("select assets from interest_asset").await;
    assert_eq!(rows, ["52"]);
    bed.assert_clean().await;
}
