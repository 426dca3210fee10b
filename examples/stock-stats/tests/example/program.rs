//! The program itself: its commands, from the outside.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use sqlx::{ConnectOptions as _, Sqlite};
use tx_tests::{Bed, on_each_database};

use crate::market::{self, Base};
use crate::trial::TRIALS;

const PROGRAM: &str = env!("CARGO_BIN_EXE_stock-stats");

async fn run(arguments: &[&str]) -> Output {
    let arguments: Vec<_> = arguments
        .iter()
        .map(OsStr::new)
        .map(OsStr::to_owned)
        .collect();
    let run = move || Command::new(PROGRAM).args(arguments).output();
    let ran = tokio::task::spawn_blocking(run).await.expect("no panic");
    ran.expect("the program starts")
}

fn url<B: Base>(bed: &Bed<B>) -> String {
    bed.options().to_url_lossy().into()
}

/// The figures in the table about a variant.
fn figures<'a>(text: &'a str, variant: &str) -> Vec<&'a str> {
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut lines = lines.filter(|line| line.first() == Some(&variant));
    let line = lines
        .next()
        .unwrap_or_else(|| panic!("no {variant}: {text}"));
    line[1..].to_vec()
}

/// What the command has printed that has shown the faults, which are a matter of chance.
async fn trial_with_faults() -> String {
    for _ in 0..TRIALS {
        let text = trial().await;
        if figures(&text, "overlapping")[3] != "0" && figures(&text, "in-one-transaction")[2] != "0"
        {
            return text;
        }
    }
    panic!("the faults did not show in {TRIALS} trials");
}

/// Without a database URL too, so this is what the command of the README prints.
async fn trial() -> String {
    let output = run(&["--days", "20", "--refreshes", "2", "--seed", "7"]).await;
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    assert_eq!(figures(&text, "grouped"), ["20", "40", "0", "0", "0", "0"]);
    let in_one = figures(&text, "in-one-transaction");
    assert_eq!(in_one[3..], ["0", "0", "0"], "{text}");
    text
}

#[tokio::test]
async fn a_trial_prints_one_table() {
    let text = trial_with_faults().await;
    let mut lines = text.lines();
    let first = lines.next().expect("a line");
    assert_eq!(
        first,
        "two batches on SQLite: 20 users, prices by the seed 7"
    );
    let heading = lines.nth(1).expect("a heading").split_whitespace();
    assert_eq!(
        heading.collect::<Vec<_>>().join(" "),
        "variant days refreshes failed runs closed days overwritten wrong rows untrue successes"
    );
}

async fn a_killed_batch_is_rolled_back_and_overtaken<B: Base>() {
    let Some(bed) = market::bed::<B>().await else {
        return;
    };
    let output = run(&["--crash", "--database-url", &url(&bed)]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(
        text.contains("rows of the killed refresh that are stored: 0"),
        "{text}"
    );
    let states = market::states(&bed).await;
    assert_eq!(states, ["DONE", "DONE", "ABANDONED", "DONE"], "{text}");
    let order = bed.control_ints("select token from tx_ticket order by id");
    assert_eq!(order.await, [1, 2, 3, 4]);
    // The processes are gone with their work: nobody is left to be waited for.
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(a_killed_batch_is_rolled_back_and_overtaken);

/// The program with the command `run`, killed if the test does not end it.
#[cfg(unix)]
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

#[cfg(unix)]
impl Running {
    fn start(url: &str) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["run", "--speed", "2000", "--users", "10"])
            .args(["--database-url", url])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = child.stdout.take().expect("it is piped");
        Self {
            child,
            lines: BufReader::new(output).lines(),
        }
    }

    /// Reads on until a line contains all of `words`.
    fn until(&mut self, words: &[&str]) {
        let has_them = |line: &String| words.iter().all(|word| line.contains(word));
        let mut lines = self.lines.by_ref().map(|line| line.expect("text"));
        assert!(lines.any(|line| has_them(&line)), "no {words:?}");
    }

    /// Sends what Ctrl-C sends.
    fn interrupt(&self) {
        let kill = format!("kill -INT {}", self.child.id());
        let killed = Command::new("sh").args(["-c", &kill]).status();
        assert!(killed.expect("a shell").success());
    }
}

#[cfg(unix)]
impl Drop for Running {
    fn drop(&mut self) {
        // An error says that it has ended, as it should have.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(unix)]
async fn a_scheduler_runs_both_batches<B: Base>() {
    let Some(bed) = market::bed::<B>().await else {
        return;
    };
    let url = url(&bed);
    // The second goes on where the first was stopped.
    for days in [2, 3] {
        let mut running = Running::start(&url);
        running.until(&["23:55", "refresh", "done"]);
        running.until(&["00:00", "open day", "done"]);
        running.interrupt();
        running.until(&["ticket", "waited", "owner"]);
        let ended = running.child.wait().expect("it ends");
        assert!(ended.success(), "{ended}");
        let stored = bed.control_ints("select count(distinct day) from stock_statistics");
        assert_eq!(stored.await, [days]);
    }
    let unfinished = "select count(*) from tx_ticket where state <> 'DONE'";
    assert_eq!(bed.control_ints(unfinished).await, [0]);

    let output = run(&["status", "--database-url", &url, "--last", "100"]).await;
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    let of = |words: &str| text.lines().filter(|line| line.contains(words)).count();
    assert_eq!(of("batch-group:stats  open day"), 3, "{text}");
    assert!(of("batch-group:stats  refresh") > 0, "{text}");
    bed.assert_clean().await;
    bed.finish().await;
}
#[cfg(unix)]
on_each_database!(a_scheduler_runs_both_batches);

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
    assert!(output.stdout.starts_with(b"Two batches write one table"));
}

#[tokio::test]
async fn status_of_no_database_says_what_it_needs() {
    let output = run(&["status"]).await;
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("--database-url"), "{text}");
    let bed = market::bed::<Sqlite>()
        .await
        .expect("SQLite is always there");
    let output = run(&["status", "--database-url", &url(&bed)]).await;
    assert!(output.status.success(), "{output:?}");
    bed.finish().await;
}
