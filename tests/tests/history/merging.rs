//! Several changes of one row in one transaction are one.

use tx_tests::{Backend, case};

use crate::stage::{applicants, audited, change, changes, newest};

const INSERT: &str = "insert into applicant values (1, 'new', 1)";
const UPDATE: &str = "update applicant set name = 'other' where id = 1";
const AGAIN: &str = "update applicant set name = 'third' where id = 1";
const NOTHING: &str = "update applicant set name = name, grade = grade where id = 1";
const DELETE: &str = "delete from applicant where id = 1";

/// Changes to one row, whether it was there before, and what is left of them.
const MATRIX: &[(bool, &[&str], &[&str])] = &[
    (false, &[INSERT], &["1:0:new"]),
    (false, &[INSERT, UPDATE], &["1:0:other"]),
    (false, &[INSERT, UPDATE, AGAIN], &["1:0:third"]),
    (false, &[INSERT, DELETE], &[]),
    (false, &[INSERT, UPDATE, DELETE], &[]),
    (false, &[INSERT, DELETE, INSERT], &["1:0:new"]),
    (false, &[INSERT, DELETE, INSERT, UPDATE], &["1:0:other"]),
    (true, &[UPDATE], &["1:1:other"]),
    (true, &[UPDATE, AGAIN], &["1:1:third"]),
    (true, &[NOTHING], &[]),
    (true, &[DELETE], &["1:2:old"]),
    (true, &[UPDATE, DELETE], &["1:2:other"]),
    (true, &[DELETE, INSERT], &["1:1:new"]),
    (true, &[UPDATE, DELETE, INSERT], &["1:1:new"]),
    (true, &[DELETE, INSERT, UPDATE], &["1:1:other"]),
    (true, &[DELETE, INSERT, DELETE], &["1:2:new"]),
];

case! {
    matrix on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "insertions, updates and deletions of one row merge into one change, or none";
    async fn<B>(bed) {
        for (existed, steps, expected) in MATRIX {
            change(bed, &["delete from applicant"]).await.unwrap();
            if *existed {
                change(bed, &["insert into applicant values (1, 'old', 1)"]).await.unwrap();
            }
            let before = newest(bed).await;
            change(bed, steps).await.unwrap();
            assert_eq!(changes(bed, before).await, *expected, "{}: {existed} {steps:?}", B::LABEL);
            let revisions = newest(bed).await - before;
            let makes_one = i64::from(!matches!(*steps, [only] if *only == NOTHING));
            assert_eq!(revisions, makes_one, "{}: {steps:?}", B::LABEL);
        }
    }
}

case! {
    keys on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "a change of the key is a deletion and an insertion, and merges with what comes after it";
    async fn<B>(bed) {
        let insert = "insert into applicant values (1, 'a', 1), (2, 'b', 1), (3, 'c', 1)";
        change(bed, &[insert]).await.unwrap();
        let since = newest(bed).await;
        change(bed, &["update applicant set id = 7 where id = 1"]).await.unwrap();
        assert_eq!(changes(bed, since).await, ["1:2:a", "7:0:a"]);

        let since = newest(bed).await;
        change(bed, &["update applicant set id = 8 where id = 7", "update applicant set id = 7, name = 'A' where id = 8"])
            .await
            .unwrap();
        assert_eq!(changes(bed, since).await, ["7:1:A"], "there and back");

        let since = newest(bed).await;
        change(bed, &["update applicant set id = id + 10"]).await.unwrap();
        assert_eq!(
            changes(bed, since).await,
            ["2:2:b", "3:2:c", "7:2:A", "12:0:b", "13:0:c", "17:0:A"]
        );

        let since = newest(bed).await;
        change(bed, &["update applicant set id = 99 where id = 12", "delete from applicant where id = 99"])
            .await
            .unwrap();
        assert_eq!(changes(bed, since).await, ["12:2:b"]);

        let since = newest(bed).await;
        change(bed, &["delete from applicant where id = 13", "update applicant set id = 13 where id = 17"])
            .await
            .unwrap();
        assert_eq!(changes(bed, since).await, ["13:1:A", "17:2:A"], "into the place of another");
    }
}

case! {
    shifted_keys on postgres, mysql;
    bed = audited::<B>(
        4,
        if B::LABEL == "postgres" {
            "create table applicant (id bigint primary key deferrable, name varchar(50), grade int)"
        } else {
            "create table applicant (id bigint primary key, name varchar(50), grade int)"
        },
        &["applicant"],
    );
    "rows that take each other's keys in one statement";
    async fn<B>(bed) {
        change(bed, &["insert into applicant values (1, 'a', 1), (2, 'b', 1), (3, 'c', 1)"]).await.unwrap();
        let since = newest(bed).await;
        let shift = if B::LABEL == "postgres" {
            "update applicant set id = id + 1"
        } else {
            "update applicant set id = id + 1 order by id desc"
        };
        change(bed, &[shift]).await.unwrap();
        assert_eq!(changes(bed, since).await, ["1:2:a", "2:1:a", "3:1:b", "4:0:c"]);
    }
}

case! {
    nulls on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "to NULL and from NULL are changes, from NULL to NULL is none; so are letters of another case";
    async fn<B>(bed) {
        change(bed, &["insert into applicant values (1, 'a', null)"]).await.unwrap();
        for (sql, expected) in [
            ("update applicant set name = null", &["1:1:?"][..]),
            ("update applicant set name = null, grade = null", &[]),
            ("update applicant set name = 'b'", &["1:1:b"]),
            ("update applicant set name = 'B'", &["1:1:B"]),
            ("update applicant set name = 'B '", &["1:1:B "]),
            ("update applicant set grade = 0", &["1:1:B "]),
            ("update applicant set grade = 0", &[]),
        ] {
            let since = newest(bed).await;
            change(bed, &[sql]).await.unwrap();
            assert_eq!(changes(bed, since).await, expected, "{}: {sql}", B::LABEL);
        }
    }
}

/// What inserts a row or writes over the one that is there.
fn upserts<B: Backend>() -> &'static [(&'static str, &'static str)] {
    match B::LABEL {
        "postgres" => &[(
            "insert into applicant values (1, 'over', 1), (5, 'beside', 1) on conflict (id) do update set name = excluded.name",
            "delete from applicant where id = 5",
        )],
        "mysql" => &[
            (
                "insert into applicant values (1, 'over', 1), (5, 'beside', 1) on duplicate key update name = values(name)",
                "delete from applicant where id = 5",
            ),
            (
                "replace into applicant values (1, 'over', 2), (5, 'beside', 1)",
                "delete from applicant where id = 5",
            ),
        ],
        _ => &[
            (
                "insert into applicant values (1, 'over', 1), (5, 'beside', 1) on conflict (id) do update set name = excluded.name",
                "delete from applicant where id = 5",
            ),
            (
                "insert or replace into applicant values (1, 'over', 2), (5, 'beside', 1)",
                "delete from applicant where id = 5",
            ),
        ],
    }
}

case! {
    upserts on sqlite, postgres, mysql;
    bed = applicants::<B>();
    "a statement that inserts some rows and writes over others";
    async fn<B>(bed) {
        change(bed, &["insert into applicant values (1, 'old', 1)"]).await.unwrap();
        for (upsert, clean) in upserts::<B>() {
            change(bed, &["update applicant set name = 'old' where id = 1"]).await.unwrap();
            let since = newest(bed).await;
            change(bed, &[upsert]).await.unwrap();
            assert_eq!(changes(bed, since).await, ["1:1:over", "5:0:beside"], "{}: {upsert}", B::LABEL);
            change(bed, &[clean]).await.unwrap();
        }
    }
}
