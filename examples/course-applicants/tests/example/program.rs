//! The program itself: its commands, from the outside.

use std::process::{Output, Stdio};
use std::time::Duration;

use course_applicants::clerk::Clerk;
use course_applicants::tables;
use hyper::Method;
use serde_json::json;
use sqlx::Sqlite;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tx_runtime::history::{Fault, History};
use tx_tests::on_each_database;

use crate::stage::{Base, empty_bed, url};

const PROGRAM: &str = env!("CARGO_BIN_EXE_course-applicants");

/// Longer than anything that the program is told to do here.
const LIMIT: Duration = Duration::from_mins(1);

async fn run(arguments: &[&str]) -> Output {
    let mut program = Command::new(PROGRAM);
    let output = program.args(arguments).kill_on_drop(true).output();
    let output = timeout(LIMIT, output).await.expect("the program ends");
    output.expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The lines of the table, their columns between single blanks.
fn lines(output: &str) -> Vec<String> {
    let lines = output.lines().skip(4).take_while(|line| !line.is_empty());
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// What the table must say of nine applicants.
fn expected(found: usize) -> [String; 4] {
    [
        "hand-made switched off 36 9 27 9".to_owned(),
        format!("hand-made {found} faults: does not start 0 0 0 0"),
        "hand-made, mended nothing wrong 36 36 0 36".to_owned(),
        "generated nothing wrong 36 36 0 36".to_owned(),
    ]
}

/// Without a database URL too, so this is what the command of the README prints.
#[tokio::test]
async fn a_trial_prints_one_table_and_why() {
    let output = run(&["--applicants", "9"]).await;
    let text = text(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert_eq!(lines(&text), expected(9), "{text}");
    for part in [
        "UNIQUE constraint failed: applicant_history.id",
        "its primary key is (id), and should be (id, rev)",
        "PRIMARY KEY (\"id\", rev)",
        "the trigger `applicant_updated` writes into the history as well",
        "- name \"Bea Nowak\", course \"weaving\", status \"accepted\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// What another table's history shares with it stays, too.
async fn a_trial_leaves_a_database_as_it_was<B: Base>() {
    let Some(bed) = empty_bed::<B>().await else {
        return;
    };
    bed.control("create table teacher (id bigint not null primary key, name varchar(50))")
        .await;
    bed.control("insert into teacher values (1, 'Flo')").await;
    let teachers = History::table("teacher");
    for audited in [false, true] {
        if audited {
            let migration = teachers.generate(&bed.db).await.expect("a migration");
            bed.control_raw(&migration.up).await;
        }
        let output = run(&["--applicants", "9", "--database-url", &url(&bed)]).await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(lines(&text(&output.stdout)).len(), 4, "{output:?}");
        assert!(tables::are_absent(&bed.db).await.expect("an answer"));
        let missing = teachers.verify(&bed.db).await.expect("a report");
        assert_eq!(missing.is_clean(), audited, "{missing}");
        let shared = missing.findings().iter();
        let shared =
            shared.filter(|finding| matches!(finding.fault, Fault::SharedTableMissing { .. }));
        assert_eq!(shared.count() > 0, !audited, "{missing}");
    }
    let revisions = bed.control_ints("select count(*) from tx_revision").await;
    assert_eq!(revisions, [1], "that of the teacher who was there");
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(a_trial_leaves_a_database_as_it_was);

async fn a_trial_keeps_away_from_what_others_have_made<B: Base>() {
    let Some(bed) = empty_bed::<B>().await else {
        return;
    };
    bed.control("create table applicant_history (mine varchar(50))")
        .await;
    bed.control("insert into applicant_history values ('kept')")
        .await;
    let output = run(&["--database-url", &url(&bed)]).await;
    assert!(!output.status.success(), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("`applicant_history` already"), "{said}");
    let kept = bed.control_texts("select mine from applicant_history");
    assert_eq!(kept.await, ["kept"]);
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(a_trial_keeps_away_from_what_others_have_made);

async fn a_service_with_the_wrong_history_does_not_start<B: Base>() {
    let Some(bed) = empty_bed::<B>().await else {
        return;
    };
    let url = url(&bed);
    let listen = ["--listen", "127.0.0.1:0", "--database-url", &url];
    let output = run(&[&["serve", "--variant", "hand-made"], &listen[..]].concat()).await;
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("the service does not start"), "{said}");
    assert!(
        said.contains("its primary key is (id), and should be (id, rev)"),
        "{said}"
    );
    assert!(text(&output.stdout).is_empty(), "it has not listened");

    // All that it has said to do is enough.
    let report = tables::verify(&bed.db).await.expect("a report");
    for finding in report.findings() {
        for line in finding.fix.lines() {
            assert!(said.contains(line), "{line}: {said}");
        }
    }
    tables::mend(&bed.db, &report).await.expect("the fixes");
    drop(Serving::start(&url, &[]).await);
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(a_service_with_the_wrong_history_does_not_start);

/// The program with the command `serve`, which has said where it listens; killed in the end.
struct Serving {
    clerk: Clerk,
    _child: Child,
}

impl Serving {
    async fn start(url: &str, further: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0", "--database-url", url])
            .args(further)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let line = timeout(LIMIT, lines.next_line()).await;
        let line = line.expect("it listens or ends").expect("text");
        let line = line.expect("it listens");
        let address = line.strip_prefix("listening on http://").expect(&line);
        let server = address.parse().expect(&line);
        Self {
            clerk: Clerk { server },
            _child: child,
        }
    }
}

async fn a_history_is_printed<B: Base>() {
    let Some(bed) = empty_bed::<B>().await else {
        return;
    };
    let url = url(&bed);
    let serving = Serving::start(&url, &[]).await;
    let clerk = serving.clerk;
    let body = json!({ "name": "Bea", "course": "pottery", "reason": "open day" });
    let registered = clerk.send(Method::PUT, "/applicants/7", "ann", &body).await;
    assert_eq!(registered.expect("an answer").status.as_u16(), 201);
    let body = json!({ "status": "rejected", "reason": "full" });
    let decided = clerk
        .send(Method::PUT, "/applicants/7/status", "ben", &body)
        .await;
    assert_eq!(decided.expect("an answer").status.as_u16(), 204);

    let output = run(&["history", "7", "--database-url", &url]).await;
    let printed = text(&output.stdout);
    let page = clerk.get("/applicants/7/history").await.expect("an answer");
    assert_eq!(printed, page.text);
    assert!(
        printed.contains("ben  full      ~ status \"registered\" -> \"rejected\""),
        "{printed}"
    );

    let output = run(&["history", "8", "--database-url", &url]).await;
    assert!(!output.status.success());
    assert_eq!(text(&output.stderr), "error: there is no applicant 8\n");
    let output = run(&["--database-url", &url]).await;
    assert!(
        !output.status.success(),
        "a trial keeps away from tables that it has not made"
    );
    assert!(text(&output.stderr).contains("there is a table `applicant`"));
    bed.finish().await;
}
on_each_database!(a_history_is_printed);

/// The damage, as it was: the service starts, and the second change is answered with 500.
#[tokio::test]
async fn without_the_check_the_wrong_history_is_in_use() {
    let bed = empty_bed::<Sqlite>().await.expect("SQLite is always there");
    let serving = Serving::start(&url(&bed), &["--variant", "hand-made", "--unchecked"]).await;
    let body = json!({ "name": "Bea", "course": "pottery", "reason": "open day" });
    for (path, body, status) in [
        ("/applicants/7", body, 201),
        (
            "/applicants/7/course",
            json!({ "course": "weaving", "reason": "full" }),
            500,
        ),
    ] {
        let answer = serving.clerk.send(Method::PUT, path, "ann", &body).await;
        assert_eq!(answer.expect("an answer").status.as_u16(), status);
    }
    let found = serving.clerk.look_up(7).await.expect("an answer");
    assert_eq!(found.expect("it is there").course, "pottery");
}

#[tokio::test]
async fn an_unknown_option_is_refused() {
    let output = run(&["--frobnicate"]).await;
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(
        said.contains("--frobnicate") && said.contains("--help"),
        "{said}"
    );
    let output = run(&["--help"]).await;
    assert!(output.status.success());
    assert!(output.stdout.starts_with(b"Who changed what"));
}
