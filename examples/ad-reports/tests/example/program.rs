//! The program itself, from the outside.

use ad_reports::tickets;
use sqlx::{ConnectOptions as _, Sqlite};
use tx_runtime::{Error, Lock};
use tx_tests::{Bed, Program, on_each_database};

use crate::scene::{self, Base, TRIALS, states, until};

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_ad-reports"));

fn url<B: Base>(bed: &Bed<B>) -> String {
    bed.options().to_url_lossy().to_string()
}

/// The figures in the line of a variant.
fn figures(text: &str, variant: &str) -> Vec<u32> {
    let figures = tx_tests::figures(text, &[variant]).into_iter();
    figures.map(|figure| figure.parse().expect(text)).collect()
}

/// What trials of so many accounts have printed, the last of which has shown the fault.
async fn trials(arguments: &[&str], accounts: u32) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < TRIALS {
        let text = PROGRAM.printed(arguments).await;
        let lost = assert_figures(&text, accounts);
        texts.push(text);
        if lost > 0 {
            return texts;
        }
    }
    panic!("no day was lost in {TRIALS} trials");
}

/// The days that the wrong variant has lost, where all else is as it must be.
fn assert_figures(text: &str, accounts: u32) -> u32 {
    let (runs, days) = (accounts * 3, accounts * 15);
    let right = figures(text, "permit");
    assert_eq!(right, [accounts, runs, days, days, 0, 0, 0], "{text}");
    let wrong = figures(text, "status-check");
    assert_eq!(wrong[..3], [accounts, runs, days], "{text}");
    let (imported, lost, overlapping) = (wrong[3], wrong[4], wrong[5]);
    assert_eq!(imported + lost, days, "{text}");
    assert!(lost == 0 || overlapping > 0, "{text}");
    lost
}

/// What the first command of the README prints.
#[tokio::test]
async fn a_trial_prints_one_table_and_a_line_of_tickets() {
    let text = trials(&[], 4).await.remove(0);
    let heading = text.lines().nth(2).expect("a heading").split_whitespace();
    let heading: Vec<_> = heading.collect();
    assert_eq!(
        heading.join(" "),
        "variant accounts runs days imported lost, said to be imported overlapping sessions 429s",
        "{text}"
    );
    let done = text.lines().filter(|line| line.contains("DONE"));
    assert_eq!(done.count(), 3, "{text}");
}

async fn a_trial_of_two_processes_leaves_a_database_as_it_was<B: Base>() {
    let Some(bed) = scene::bed::<B>().await else {
        return;
    };
    bed.control("insert into ad_account (account_id, status) values (7, 'IDLE')")
        .await;
    bed.control("insert into ad_report values (7, 1, 1, 10, 1)")
        .await;
    bed.control("insert into ad_import values (7, 'manual', 1, 1, 'SUCCESS')")
        .await;
    let url = url(&bed);
    let arguments = ["trial", "--database-url", &url, "--accounts", "2"];
    let held = trials(&arguments, 2).await.len();
    for table in ["ad_account", "ad_report", "ad_import"] {
        let question = format!("select account_id from {table}");
        assert_eq!(bed.control_ints(&question).await, [7], "{table}");
    }
    let states = states(&bed).await;
    assert_eq!(states, vec!["DONE"; 6 * held], "they stay, as a log");
    let processes = bed.control_ints("select count(distinct process) from tx_ticket");
    assert_eq!(processes.await, [2 * i64::try_from(held).expect("few")]);
    bed.finish().await;
}
on_each_database!(a_trial_of_two_processes_leaves_a_database_as_it_was);

async fn status_shows_who_waits_for_whom<B: Base>() {
    let Some(bed) = scene::bed::<B>().await else {
        return;
    };
    let tickets = tickets::of(&bed.db);
    let lock = |label: &str| Lock::key(tickets::key(7)).on(&tickets).label(label);
    let url = url(&bed);
    let holding = bed.db.locked(lock("the first"), async || {
        let waiting = bed.db.clone();
        let second = lock("the second");
        let second =
            tokio::spawn(async move { waiting.locked(second, async || Ok::<_, Error>(())).await });
        until("the second waits", async || states(&bed).await.len() == 2).await;
        let text = PROGRAM.printed(&["status", "--database-url", &url]).await;
        second.abort();
        Ok::<_, Error>(text)
    });
    let text = holding.await.expect("the lock");
    let line = |label: &str| {
        let line = text.lines().find(|line| line.contains(label)).expect(&text);
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (first, second) = (line("the first"), line("the second"));
    assert!(first.contains(&"RUNNING".to_owned()), "{text}");
    let state = second.iter().position(|word| word == "WAITING");
    let behind = &second[state.expect(&text) + 1];
    assert_eq!(behind, &first[0], "{text}");
    assert_eq!((&*first[1], &*second[1]), ("ad-account:7", "ad-account:7"));
    bed.finish().await;
}
on_each_database!(status_shows_who_waits_for_whom);

#[tokio::test]
async fn what_means_nothing_is_refused() {
    for (arguments, reason) in [
        (&["--frobnicate"][..], "--frobnicate"),
        (&["--variant", "luck"], "status-check or permit"),
        (&["--days", "367"], "at most 366"),
        (&["--accounts", "0"], "non-zero"),
        (&["--limit", "5"], "an option of status"),
        (&["--first-account", "5"], "options of nightly"),
        (&["status"], "--database-url"),
        (&["status", "--days", "3"], "imports nothing"),
        (
            &["nightly", "--database-url", "sqlite:no.db"],
            "what a trial starts",
        ),
        (&["dance"], "`dance`"),
        (&["--database-url", "oracle:x"], "must begin with sqlite:"),
    ] {
        let text = PROGRAM.refusal(arguments).await;
        assert!(text.contains(reason), "{arguments:?}: {text}");
    }
    let text = PROGRAM.printed(&["--help"]).await;
    assert!(text.starts_with("Two imports share an account"), "{text}");
}

#[tokio::test]
async fn tables_of_another_make_are_an_error() {
    let bed = Bed::<Sqlite>::new().await.expect("SQLite is always there");
    bed.control("create table ad_account (mine text)").await;
    PROGRAM.refusal(&["--database-url", &url(&bed)]).await;
}
