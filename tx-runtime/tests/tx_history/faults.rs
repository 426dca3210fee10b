//! A history that was made by hand: what is printed is what mends it.

use tx_tests::{Backend, on_each_database};

use crate::program::Desk;

/// The incident: a row of the table can have one row here, and the second change of it fails.
const BY_HAND: &str =
    "create table applicant (id bigint not null primary key, name varchar(50) unique);
     create table applicant_history (
       id bigint not null primary key, name varchar(50) unique, rev bigint not null, revtype int not null
     );
     insert into applicant_history values (77, 'kept', 0, 1);";

/// The SQL below each `fix:`, as somebody would copy it from the screen.
fn printed_fixes(report: &str) -> Vec<String> {
    let mut fixes: Vec<String> = Vec::new();
    for line in report.lines() {
        if line == "  fix:" {
            fixes.push(String::new());
        } else if let (Some(sql), Some(fix)) = (line.strip_prefix("    "), fixes.last_mut()) {
            fix.push_str(sql);
            fix.push('\n');
        }
    }
    fixes
}

async fn what_is_printed_mends_it<B: Backend>() {
    let Some(desk) = Desk::<B>::new().await else {
        return;
    };
    desk.bed.control_raw(BY_HAND).await;
    let ran = desk.run("verify").await;
    let report = ran.found();
    for part in [
        "applicant`: its primary key is (id), and should be (id, rev)",
        "wants (name) to be unique",
        "the column `revseq` is missing",
        "so changes go unrecorded",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    let fixes = printed_fixes(report);
    let findings = report
        .lines()
        .filter(|line| line.starts_with("history of "));
    assert_eq!(fixes.len(), findings.count(), "each has a fix: {report}");
    for fix in &fixes {
        desk.bed.control_raw(fix).await;
    }
    let mended = desk.run("verify").await;
    assert!(
        mended.well().contains("every history is as it should be"),
        "{mended:?}"
    );
    let kept = desk
        .bed
        .control_texts("select name from applicant_history")
        .await;
    assert_eq!(kept, ["kept"]);
    desk.finish().await;
}
on_each_database!(what_is_printed_mends_it);

/// One fix less than there are faults, and the program says so.
async fn what_is_left_is_found_again<B: Backend>() {
    let Some(desk) = Desk::<B>::new().await else {
        return;
    };
    desk.bed.control_raw(BY_HAND).await;
    let ran = desk.run("verify applicant").await;
    let fixes = printed_fixes(ran.found());
    let (left, done) = fixes.split_last().expect("there are faults");
    for fix in done {
        desk.bed.control_raw(fix).await;
    }
    let ran = desk.run("verify applicant").await;
    assert_eq!(printed_fixes(ran.found()), [left.as_str()], "{ran:?}");
    desk.finish().await;
}
on_each_database!(what_is_left_is_found_again);

/// It is no work for a migration, so it is printed beside it.
async fn what_no_migration_mends_is_said<B: Backend>() {
    let Some(desk) = Desk::<B>::new().await else {
        return;
    };
    let tables = "create table course (id bigint not null primary key);
                  create table applicant (id bigint not null primary key, course bigint not null,
                    constraint of_course foreign key (course) references course (id) on delete cascade)";
    desk.bed.control_raw(tables).await;
    let generated = desk.run("generate applicant").await;
    generated.well();
    let fires_no_triggers = B::LABEL == "mysql";
    assert_eq!(
        generated.err.contains("not in the migration"),
        fires_no_triggers,
        "{generated:?}"
    );
    assert_eq!(
        generated.err.contains("`of_course`"),
        fires_no_triggers,
        "{generated:?}"
    );
    desk.finish().await;
}
on_each_database!(what_no_migration_mends_is_said);
