//! The program itself: its commands, from the outside.

use course_applicants::clerk::Clerk;
use course_applicants::tables;
use hyper::Method;
use serde_json::json;
use sqlx::Sqlite;
use tx_runtime::history::{Fault, History};
use tx_tests::{Program, Running, on_each_database};

use crate::stage::{Base, empty_bed, url};

const PROGRAM: Program = Program(env!("CARGO_BIN_EXE_course-applicants"));

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
    let text = PROGRAM.printed(&["--applicants", "9"]).await;
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
        let text = PROGRAM
            .printed(&["--applicants", "9", "--database-url", &url(&bed)])
            .await;
        assert_eq!(lines(&text).len(), 4, "{text}");
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
    let said = PROGRAM.refusal(&["--database-url", &url(&bed)]).await;
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
    let output = PROGRAM
        .run(&[&["serve", "--variant", "hand-made"], &listen[..]].concat())
        .await;
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("the service does not start"), "{said}");
    assert!(
        said.contains("its primary key is (id), and should be (id, rev)"),
        "{said}"
    );
    assert!(output.stdout.is_empty(), "it has not listened");

    // All that it has said to do is enough.
    let report = tables::verify(&bed.db).await.expect("a report");
    for finding in report.findings() {
        for line in finding.fix.lines() {
            assert!(said.contains(line), "{line}: {said}");
        }
    }
    tables::mend(&bed.db, &report).await.expect("the fixes");
    drop(serve(&url, &[]).await);
    bed.assert_clean().await;
    bed.finish().await;
}
on_each_database!(a_service_with_the_wrong_history_does_not_start);

/// The program with the command `serve`, which has said where it listens, and somebody of the staff.
async fn serve(url: &str, further: &[&str]) -> (Running, Clerk) {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", url];
    let mut serving = PROGRAM.start(&[&serve[..], further].concat());
    let server = serving.address().await;
    (serving, Clerk { server })
}

async fn a_history_is_printed<B: Base>() {
    let Some(bed) = empty_bed::<B>().await else {
        return;
    };
    let url = url(&bed);
    let (_serving, clerk) = serve(&url, &[]).await;
    let body = json!({ "name": "Bea", "course": "pottery", "reason": "open day" });
    let registered = clerk.send(Method::PUT, "/applicants/7", "ann", &body).await;
    assert_eq!(registered.expect("an answer").status.as_u16(), 201);
    let body = json!({ "status": "rejected", "reason": "full" });
    let decided = clerk
        .send(Method::PUT, "/applicants/7/status", "ben", &body)
        .await;
    assert_eq!(decided.expect("an answer").status.as_u16(), 204);

    let printed = PROGRAM
        .printed(&["history", "7", "--database-url", &url])
        .await;
    let page = clerk.get("/applicants/7/history").await.expect("an answer");
    assert_eq!(printed, page.text);
    assert!(
        printed.contains("ben  full      ~ status \"registered\" -> \"rejected\""),
        "{printed}"
    );

    let said = PROGRAM
        .refusal(&["history", "8", "--database-url", &url])
        .await;
    assert_eq!(said, "error: there is no applicant 8\n");
    // A trial keeps away from tables that it has not made.
    let said = PROGRAM.refusal(&["--database-url", &url]).await;
    assert!(said.contains("there is a table `applicant`"), "{said}");
    bed.finish().await;
}
on_each_database!(a_history_is_printed);

/// The damage, as it was: the service starts, and the second change is answered with 500.
#[tokio::test]
async fn without_the_check_the_wrong_history_is_in_use() {
    let bed = empty_bed::<Sqlite>().await.expect("SQLite is always there");
    let further = ["--variant", "hand-made", "--unchecked"];
    let (_serving, clerk) = serve(&url(&bed), &further).await;
    let body = json!({ "name": "Bea", "course": "pottery", "reason": "open day" });
    for (path, body, status) in [
        ("/applicants/7", body, 201),
        (
            "/applicants/7/course",
            json!({ "course": "weaving", "reason": "full" }),
            500,
        ),
    ] {
        let answer = clerk.send(Method::PUT, path, "ann", &body).await;
        assert_eq!(answer.expect("an answer").status.as_u16(), status);
    }
    let found = clerk.look_up(7).await.expect("an answer");
    assert_eq!(found.expect("it is there").course, "pottery");
}

#[tokio::test]
async fn an_unknown_option_is_refused() {
    let said = PROGRAM.refusal(&["--frobnicate"]).await;
    assert!(
        said.contains("--frobnicate") && said.contains("--help"),
        "{said}"
    );
    let text = PROGRAM.printed(&["--help"]).await;
    assert!(text.starts_with("Who changed what"), "{text}");
}
