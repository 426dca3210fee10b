//! The program itself: its commands, from the outside.

use sqlx::{ConnectOptions as _, Sqlite};
#[cfg(unix)]
use tx_tests::Running;
use tx_tests::{Bed, Program, figures, on_each_database};

use crate::market::{self, Base};
use crate::trial::TRIALS;

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_stock-stats"));

fn url<B: Base>(bed: &Bed<B>) -> String {
    bed.options().to_url_lossy().into()
}

/// What the command has printed that has shown the faults, which are a matter of chance.
async fn trial_with_faults() -> String {
    for _ in 0..TRIALS {
        let text = trial().await;
        if figures(&text, &["overlapping"])[3] != "0"
            && figures(&text, &["in-one-transaction"])[2] != "0"
        {
            return text;
        }
    }
    panic!("the faults did not show in {TRIALS} trials");
}

/// Without a database URL too, so this is what the command of the README prints.
async fn trial() -> String {
    let text = PROGRAM
        .printed(&["--days", "20", "--refreshes", "2", "--seed", "7"])
        .await;
    assert_eq!(
        figures(&text, &["grouped"]),
        ["20", "40", "0", "0", "0", "0"]
    );
    let in_one = figures(&text, &["in-one-transaction"]);
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
    let text = PROGRAM
        .printed(&["--crash", "--database-url", &url(&bed)])
        .await;
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

/// Reads on until a line contains all of `words`.
#[cfg(unix)]
async fn read_until(running: &mut Running, words: &[&str]) {
    loop {
        let line = running.line().await;
        if words.iter().all(|word| line.contains(word)) {
            return;
        }
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
        let run = ["run", "--speed", "2000", "--users", "10"];
        let database = ["--database-url", &url];
        let mut running = PROGRAM.start(&[&run[..], &database].concat());
        read_until(&mut running, &["23:55", "refresh", "done"]).await;
        read_until(&mut running, &["00:00", "open day", "done"]).await;
        // What Ctrl-C sends.
        running.signal("INT");
        read_until(&mut running, &["ticket", "waited", "owner"]).await;
        let ended = running.ended().await;
        assert!(ended.success(), "{ended}");
        let stored = bed.control_ints("select count(distinct day) from stock_statistics");
        assert_eq!(stored.await, [days]);
    }
    let unfinished = "select count(*) from tx_ticket where state <> 'DONE'";
    assert_eq!(bed.control_ints(unfinished).await, [0]);

    let text = PROGRAM
        .printed(&["status", "--database-url", &url, "--last", "100"])
        .await;
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
    let text = PROGRAM.refusal(&["--frobnicate"]).await;
    assert!(
        text.contains("--frobnicate") && text.contains("--help"),
        "{text}"
    );
    let text = PROGRAM.printed(&["--help"]).await;
    assert!(text.starts_with("Two batches write one table"), "{text}");
}

#[tokio::test]
async fn status_of_no_database_says_what_it_needs() {
    let text = PROGRAM.refusal(&["status"]).await;
    assert!(text.contains("--database-url"), "{text}");
    let bed = market::bed::<Sqlite>()
        .await
        .expect("SQLite is always there");
    PROGRAM
        .printed(&["status", "--database-url", &url(&bed)])
        .await;
    bed.finish().await;
}
