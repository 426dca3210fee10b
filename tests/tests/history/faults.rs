//! Histories with faults made by hand: each is found, and mended by what the finding says.

use tx_runtime::Error;
use tx_runtime::history::{Fault, Finding, History};
use tx_tests::{Backend, Bed, case};

use crate::stage::{APPLICANT, applicants, audit, bare, change, changes, newest, verified};

async fn findings<B: Backend>(bed: &Bed<B>) -> Vec<Finding> {
    let report = History::table("applicant").verify(&bed.db).await;
    let report = report.expect("the table can be audited");
    let text = report.to_string();
    for finding in report.findings() {
        let first = finding.fix.lines().next().unwrap_or_default();
        assert!(text.contains(first), "{text}");
    }
    report.findings().to_vec()
}

/// Makes a fault, has it found, and mends it with the words of the findings.
async fn found_and_mended<B: Backend>(
    bed: &Bed<B>,
    damage: &str,
    expected: impl Fn(&Fault) -> bool,
) {
    bed.control_raw(damage).await;
    let findings = findings(bed).await;
    assert!(
        findings.iter().any(|finding| expected(&finding.fault)),
        "{}: {damage}: {findings:#?}",
        B::LABEL
    );
    for finding in findings {
        bed.control_raw(&finding.fix).await;
    }
    verified(bed, &["applicant"]).await;
    // And it records.
    let since = newest(bed).await;
    change(
        bed,
        &[
            "delete from applicant",
            "insert into applicant values (1, 'mended', 1)",
        ],
    )
    .await
    .unwrap();
    change(bed, &["update applicant set grade = 2"])
        .await
        .unwrap();
    let recorded = changes(bed, since).await;
    assert_eq!(
        recorded.last().map(String::as_str),
        Some("1:1:mended"),
        "{}: {damage}",
        B::LABEL
    );
}

/// The history table and trigger of the incident: made by hand, with the key of the table alone.
fn by_hand<B: Backend>() -> &'static str {
    match B::LABEL {
        "postgres" => {
            "create sequence numbers;
             create table applicant_history (id bigint primary key, name varchar(50), grade int, rev bigint, revtype smallint);
             create function by_hand() returns trigger language plpgsql as $$
             begin insert into applicant_history values (new.id, new.name, new.grade, -nextval('numbers'), 1); return null; end $$;
             create trigger by_hand after insert or update on applicant for each row execute function by_hand()"
        }
        "mysql" => {
            "create table applicant_history (id bigint primary key, name varchar(50), grade int, rev bigint, revtype tinyint);
             create trigger by_hand_i after insert on applicant for each row insert into applicant_history values (new.id, new.name, new.grade, -(uuid_short() % 1000000), 0);
             create trigger by_hand_u after update on applicant for each row insert into applicant_history values (new.id, new.name, new.grade, -(uuid_short() % 1000000), 1)"
        }
        _ => {
            "create table applicant_history (id bigint primary key, name varchar(50), grade int, rev bigint, revtype int);
             create trigger by_hand_i after insert on applicant begin insert into applicant_history values (new.id, new.name, new.grade, -abs(random() % 1000000), 0); end;
             create trigger by_hand_u after update on applicant begin insert into applicant_history values (new.id, new.name, new.grade, -abs(random() % 1000000), 1); end"
        }
    }
}

case! {
    incident on sqlite, postgres, mysql;
    bed = bare::<B>(4, APPLICANT);
    "a history without `rev` in its key fails the second change of a row, is named, and is mended as it is said";
    async fn<B>(bed) {
        bed.control_raw(by_hand::<B>()).await;
        bed.db
            .transaction(async || Ok::<_, Error>(B::exec(&bed.db, "insert into applicant values (1, 'a', 1)").await?))
            .await
            .unwrap();
        let second = bed
            .db
            .transaction(async || Ok::<_, Error>(B::exec(&bed.db, "update applicant set grade = 2").await?))
            .await
            .unwrap_err();
        let said = second.to_string().to_lowercase();
        assert!(said.contains("duplicate") || said.contains("unique"), "{}: {said}", B::LABEL);
        assert_eq!(bed.control_ints("select grade from applicant").await, [1], "the change went with it");

        let findings = findings(bed).await;
        let key = findings.iter().find(|finding| matches!(finding.fault, Fault::PrimaryKey { .. }));
        let key = key.expect("the key is found");
        assert_eq!(
            key.fault,
            Fault::PrimaryKey { found: vec!["id".to_owned()], expected: vec!["id".to_owned(), "rev".to_owned()] }
        );
        assert!(key.to_string().contains("(id), and should be (id, rev)"), "{key}");
        found_and_mended(bed, "select 1", |fault| matches!(fault, Fault::ForeignRecorder { .. })).await;
        change(bed, &["update applicant set grade = 2"]).await.unwrap();
        change(bed, &["update applicant set grade = 3"]).await.unwrap();
    }
}

case! {
    nothing_there on sqlite, postgres, mysql;
    bed = bare::<B>(4, APPLICANT);
    "without any history, everything is missing";
    async fn<B>(bed) {
        found_and_mended(bed, "insert into applicant values (5, 'there', 1)", |fault| {
            matches!(fault, Fault::HistoryMissing { .. })
        })
        .await;
        let there = bed.control_texts("select name from applicant_history where rev = 1 and revtype = 0").await;
        assert_eq!(there, ["there"]);
    }
}

case! {
    history_dropped on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "a history table that is gone";
    async fn<B>(bed) {
        found_and_mended(bed, "drop table applicant_history", |fault| matches!(fault, Fault::HistoryMissing { .. })).await;
    }
}

case! {
    revisions_dropped on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "tables that all share and that are gone";
    async fn<B>(bed) {
        found_and_mended(bed, "drop table tx_revision", |fault| matches!(fault, Fault::SharedTableMissing { .. })).await;
        if B::LABEL == "sqlite" {
            found_and_mended(bed, "drop table tx_open_revision", |fault| matches!(fault, Fault::SharedTableMissing { .. })).await;
        }
    }
}

case! {
    wrong_keys on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "a history table that was made anew by hand, with another key or none";
    async fn<B>(bed) {
        let columns = |id: &str, rest: &str| {
            let seq = match B::LABEL {
                "postgres" => "revseq bigint generated always as identity",
                "mysql" => "revseq bigint not null auto_increment, key (revseq)",
                _ => "revseq integer generated always as (rev)",
            };
            format!(
                "drop table applicant_history;
                 create table applicant_history (id bigint not null {id}, name varchar(50), grade int, rev {} not null, revtype {} not null, {seq} {rest})",
                if B::LABEL == "sqlite" { "integer" } else { "bigint" },
                match B::LABEL { "sqlite" => "integer", "mysql" => "tinyint", _ => "smallint" },
            )
        };
        for damage in [columns("primary key", ""), columns("", ""), columns("", ", primary key (rev, id)"), columns("", ", primary key (rev)")] {
            found_and_mended(bed, &damage, |fault| matches!(fault, Fault::PrimaryKey { .. })).await;
        }
    }
}

case! {
    missing_columns on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "a column that the table has got and its history has not";
    async fn<B>(bed) {
        bed.control("alter table applicant add column email varchar(100)").await;
        let found = findings(bed).await;
        assert!(found.iter().any(|f| matches!(f.fault, Fault::RecorderOutdated { .. })), "{found:#?}");
        let migration = History::table("applicant").generate(&bed.db).await.unwrap();
        bed.control_raw(&migration.up).await;
        verified(bed, &["applicant"]).await;
        change(bed, &["insert into applicant values (1, 'a', 1, 'mail')"]).await.unwrap();
        assert_eq!(bed.control_texts("select email from applicant_history").await, ["mail"]);
    }
}

case! {
    missing_own_columns on sqlite, postgres, mysql;
    bed = bare::<B>(4, APPLICANT);
    "a history without the columns of a history";
    async fn<B>(bed) {
        found_and_mended(
            bed,
            "create table applicant_history (id bigint not null primary key, name varchar(50), grade int);
             insert into applicant_history values (77, 'kept', 1)",
            |fault| matches!(fault, Fault::ColumnMissing { column } if column == "rev"),
        )
        .await;
        assert_eq!(bed.control_texts("select name from applicant_history where id = 77").await, ["kept"]);
    }
}

case! {
    wrong_types on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "a column of the table that has become longer than that of its history";
    async fn<B>(bed) {
        change(bed, &["insert into applicant values (1, 'a', 1)"]).await.unwrap();
        let damage = match B::LABEL {
            "postgres" => "alter table applicant alter column name type varchar(80)",
            "mysql" => "alter table applicant modify column name varchar(80)",
            _ => "drop table applicant; create table applicant (id bigint not null primary key, name varchar(80), grade int)",
        };
        found_and_mended(bed, damage, |fault| matches!(fault, Fault::ColumnDiffers { column, .. } if column == "name")).await;
        assert_eq!(changes(bed, 0).await[0], "1:0:a", "what was recorded stays");
    }
}

case! {
    copied_with_everything on postgres, mysql;
    bed = bare::<B>(
        4,
        if B::LABEL == "postgres" {
            "create table applicant (id bigint generated by default as identity primary key, name varchar(50) unique, grade int, twice int generated always as (grade * 2) stored)"
        } else {
            "create table applicant (id bigint not null auto_increment primary key, name varchar(50) unique, grade int, twice int generated always as (grade * 2) stored)"
        },
    );
    "a history that was made as a copy of the table, with identity, expressions and unique indexes";
    async fn<B>(bed) {
        let copy = if B::LABEL == "postgres" {
            "create table applicant_history (like applicant including all)"
        } else {
            "create table applicant_history like applicant"
        };
        bed.control_raw(copy).await;
        let found = findings(bed).await;
        let has = |expected: &dyn Fn(&Fault) -> bool| found.iter().any(|f| expected(&f.fault));
        assert!(has(&|f| matches!(f, Fault::UniqueIndex { columns, .. } if *columns == ["name"])), "{found:#?}");
        assert!(has(&|f| matches!(f, Fault::ColumnDiffers { column, .. } if column == "id")), "{found:#?}");
        assert!(has(&|f| matches!(f, Fault::ColumnDiffers { column, .. } if column == "twice")), "{found:#?}");
        for finding in &found {
            bed.control_raw(&finding.fix).await;
        }
        verified(bed, &["applicant"]).await;
        change(bed, &["insert into applicant (id, name, grade) values (1, 'a', 1), (2, 'b', 1)"]).await.unwrap();
        change(bed, &["update applicant set name = 'c' where id = 1"]).await.unwrap();
        change(bed, &["update applicant set name = 'a' where id = 2"]).await.unwrap();
    }
}

case! {
    unique_indexes on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "a unique index on the history; one that holds the revision does no harm";
    async fn<B>(bed) {
        bed.control("create unique index harmless on applicant_history (rev, id, grade)").await;
        verified(bed, &["applicant"]).await;
        found_and_mended(bed, "create unique index copied on applicant_history (name)", |fault| {
            matches!(fault, Fault::UniqueIndex { index, .. } if index == "copied")
        })
        .await;
    }
}

case! {
    triggers_dropped on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "triggers and functions that are gone";
    async fn<B>(bed) {
        for event in ["i", "u", "d"] {
            let on = if B::LABEL == "postgres" { " on applicant" } else { "" };
            found_and_mended(bed, &format!("drop trigger applicant_tx_{event}{on}"), |fault| {
                matches!(fault, Fault::RecorderMissing { name } if *name == format!("applicant_tx_{event}"))
            })
            .await;
        }
        if B::LABEL == "postgres" {
            found_and_mended(bed, "drop function applicant_tx() cascade", |fault| {
                matches!(fault, Fault::RecorderMissing { name } if name == "applicant_tx")
            })
            .await;
            found_and_mended(bed, "drop function tx_no_truncate() cascade", |fault| {
                matches!(fault, Fault::RecorderMissing { name } if name == "tx_no_truncate")
            })
            .await;
            found_and_mended(bed, "drop function tx_current_revision() cascade", |fault| {
                matches!(fault, Fault::RecorderMissing { name } if name == "tx_current_revision")
            })
            .await;
        }
        if B::LABEL == "sqlite" {
            found_and_mended(bed, "drop trigger applicant_tx_k", |fault| matches!(fault, Fault::RecorderMissing { .. })).await;
        }
    }
}

case! {
    triggers_disabled on postgres;
    bed = applicants::<B>();
    "triggers that are switched off";
    async fn<B>(bed) {
        for damage in [
            "alter table applicant disable trigger all",
            "alter table applicant disable trigger applicant_tx_u",
            "alter table applicant enable replica trigger applicant_tx_d",
        ] {
            found_and_mended(bed, damage, |fault| matches!(fault, Fault::RecorderDisabled { .. })).await;
        }
    }
}

case! {
    triggers_outdated on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "triggers that are not those that were generated";
    async fn<B>(bed) {
        let damage: &[&str] = match B::LABEL {
            "postgres" => &[
                "create or replace function applicant_tx() returns trigger language plpgsql as $$ begin return null; end $$",
                "drop trigger applicant_tx_u on applicant; create trigger applicant_tx_u after update of name on applicant
                 for each row execute function applicant_tx()",
                "drop trigger applicant_tx_d on applicant; create trigger applicant_tx_d after delete on applicant
                 referencing old table as o for each statement when (false) execute function applicant_tx()",
                "create or replace function tx_current_revision() returns bigint language sql as $$ select 1::bigint $$",
            ],
            "mysql" => &["drop trigger applicant_tx_u; create trigger applicant_tx_u after update on applicant for each row set @x = 1"],
            _ => &["drop trigger applicant_tx_u; create trigger applicant_tx_u after update on applicant begin select 1; end"],
        };
        for damage in damage {
            found_and_mended(bed, damage, |fault| matches!(fault, Fault::RecorderOutdated { .. })).await;
        }
    }
}

case! {
    cascades on mysql;
    bed = bare::<B>(
        4,
        "create table course (id bigint primary key);
         create table applicant (id bigint primary key, name varchar(50), grade int, course bigint, mentor bigint,
           constraint of_course foreign key (course) references course (id) on delete cascade,
           constraint of_mentor foreign key (mentor) references course (id) on update set null)",
    );
    "foreign keys whose actions fire no triggers";
    async fn<B>(bed) {
        audit_but_for_cascades(bed).await;
        change(bed, &["insert into course values (1)", "insert into applicant values (1, 'a', 1, 1, null)"]).await.unwrap();
        change(bed, &["delete from course"]).await.unwrap();
        assert_eq!(bed.control_ints("select count(*) from applicant").await, [0]);
        assert_eq!(changes(bed, 0).await, ["1:0:a"], "this is what goes wrong");

        let found = findings(bed).await;
        let named = found.iter().map(|finding| match &finding.fault {
            Fault::Cascade { constraint, .. } => constraint.as_str(),
            other => panic!("{other}"),
        });
        assert_eq!(named.collect::<Vec<_>>(), ["of_course", "of_mentor"]);
        for finding in found {
            bed.control_raw(&finding.fix).await;
        }
        verified(bed, &["applicant"]).await;
    }
}

/// A migration leaves foreign keys alone.
async fn audit_but_for_cascades<B: Backend>(bed: &Bed<B>) {
    let migration = History::table("applicant").generate(&bed.db).await.unwrap();
    assert!(!migration.up.contains("FOREIGN KEY"), "{}", migration.up);
    bed.control_raw(&migration.up).await;
}

case! {
    recursive_triggers on sqlite;
    bed = Bed::<B>::with_pool(1);
    "connections on which `INSERT OR REPLACE` deletes without a trace";
    async fn<B>(bed) {
        bed.control(APPLICANT).await;
        let migration = History::table("applicant").generate(&bed.db).await.unwrap();
        bed.control_raw(&migration.up).await;
        change(bed, &["insert into applicant values (1, 'a', 1)"]).await.unwrap();
        change(bed, &["insert or replace into applicant values (1, 'b', 1)"]).await.unwrap();
        assert_eq!(changes(bed, 0).await, ["1:0:a", "1:0:b"], "this is what goes wrong");
        let found = findings(bed).await;
        assert!(matches!(&found[..], [Finding { fault: Fault::Setting { name: "recursive_triggers", .. }, .. }]), "{found:#?}");
        // The pool has one connection.
        B::raw(B::pool(bed.db.pool()), &found[0].fix).await.unwrap();
        verified(bed, &["applicant"]).await;
        let since = newest(bed).await;
        change(bed, &["insert or replace into applicant values (1, 'c', 1)"]).await.unwrap();
        assert_eq!(changes(bed, since).await, ["1:1:c"]);
    }
}

case! {
    all_at_once on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "all faults are found together, and mended in their order";
    async fn<B>(bed) {
        let on = if B::LABEL == "postgres" { " on applicant" } else { "" };
        let damage = format!(
            "drop trigger applicant_tx_i{on}; drop trigger applicant_tx_d{on}; drop table applicant_history;
             create table applicant_history (id bigint primary key, name int unique, rev int)"
        );
        bed.control_raw(&damage).await;
        let found = findings(bed).await;
        let kinds = |expected: fn(&Fault) -> bool| found.iter().filter(|f| expected(&f.fault)).count();
        assert_eq!(kinds(|f| matches!(f, Fault::PrimaryKey { .. })), 1);
        assert_eq!(kinds(|f| matches!(f, Fault::UniqueIndex { .. })), 1);
        assert!(kinds(|f| matches!(f, Fault::ColumnDiffers { .. })) >= 2, "{found:#?}");
        assert_eq!(kinds(|f| matches!(f, Fault::ColumnMissing { .. })), 3, "{found:#?}");
        assert_eq!(kinds(|f| matches!(f, Fault::RecorderMissing { .. })), 2);
        for finding in found {
            bed.control_raw(&finding.fix).await;
        }
        verified(bed, &["applicant"]).await;
    }
}

case! {
    down on sqlite, postgres, mysql;
    bed = bare::<B>(4, APPLICANT);
    "what was generated can be taken back, and made again";
    async fn<B>(bed) {
        for _ in 0..2 {
            let migration = History::table("applicant").generate(&bed.db).await.unwrap();
            bed.control_raw(&migration.up).await;
            verified(bed, &["applicant"]).await;
            change(bed, &["delete from applicant", "insert into applicant values (1, 'a', 1)"]).await.unwrap();
            bed.control_raw(&migration.down).await;
            let empty = findings(bed).await;
            assert!(empty.iter().any(|f| matches!(f.fault, Fault::SharedTableMissing { .. })), "{empty:#?}");
        }
        audit(bed, &["applicant"]).await;
        let nothing = History::table("applicant").generate(&bed.db).await.unwrap();
        assert!(nothing.up.is_empty() && nothing.down.is_empty());
    }
}
