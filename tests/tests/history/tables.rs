//! Tables of every shape: names, keys, types; and those that can have no history.

use tx_runtime::history::{History, HistoryError};
use tx_tests::{Backend, Bed, case};

use crate::stage::{audit, bare, change, newest, verified};

/// Creates a table and audits it, under a name as [`History`] takes it.
async fn made<B: Backend>(bed: &Bed<B>, create: &str, table: &str) {
    bed.control_raw(create).await;
    audit(bed, &[table]).await;
}

fn q<B: Backend>(name: &str) -> String {
    B::quoted(name)
}

/// The kinds of change that the history of a table holds, oldest first.
async fn kinds<B: Backend>(bed: &Bed<B>, history: &str) -> Vec<i64> {
    bed.control_ints(&format!(
        "select revtype from {} order by rev, revseq",
        q::<B>(history)
    ))
    .await
}

case! {
    odd_names on sqlite, postgres, mysql;
    bed = bare::<B>(4, "select 1");
    "names with spaces, quotation marks and dots, and reserved words";
    async fn<B>(bed) {
        let names = ["select", "Order", "two words", "it's", "dot.ted", "back`tick", "dou\"ble", "ünï", "$tx_runtime$", "100%"];
        for name in names {
            let written = format!("\"{}\"", name.replace('"', "\"\""));
            let table = q::<B>(name);
            made(
                bed,
                &format!("create table {table} ({} int not null primary key, {} int, {} int)", q::<B>(name), q::<B>("group"), q::<B>("a \"b' `c")),
                &written,
            )
            .await;
            change(
                bed,
                &[&format!("insert into {table} values (1, 1, 1)")],
            )
            .await
            .unwrap();
            let column = q::<B>("a \"b' `c");
            change(bed, &[&format!("update {table} set {column} = 2")]).await.unwrap();
            change(bed, &[&format!("delete from {table}")]).await.unwrap();
            assert_eq!(kinds(bed, &format!("{name}_history")).await, [0, 1, 2], "{}: {name}", B::LABEL);
        }
        let found = History::existing(&bed.db).await.unwrap();
        assert_eq!(found.names().count(), names.len());
        assert!(found.verify(&bed.db).await.unwrap().is_clean());
    }
}

case! {
    names_of_our_own on sqlite, postgres, mysql;
    bed = bare::<B>(4, "select 1");
    "columns that are called as what the triggers use";
    async fn<B>(bed) {
        let columns = ["r", "t", "n", "o", "h", "tx_r", "tx_t", "actor", "reason", "at", "one", "is_open", "mark", "made", "tx_rev", "tx_actor"];
        let declared: Vec<String> = columns.iter().map(|column| format!("{} int", q::<B>(column))).collect();
        let create = format!("create table own (rr int not null, {}, primary key (rr, {}))", declared.join(", ").replacen(" int", " int not null", 1), q::<B>("r"));
        made(bed, &create, "own").await;
        let values = vec!["1"; columns.len()].join(", ");
        change(bed, &[&format!("insert into own values (1, {values})")]).await.unwrap();
        for column in &columns[1..] {
            change(bed, &[&format!("update own set {} = 2", q::<B>(column))]).await.unwrap();
        }
        change(bed, &["update own set r = 7"]).await.unwrap();
        change(bed, &["delete from own"]).await.unwrap();
        let mut expected = vec![0];
        expected.extend(vec![1; columns.len() - 1]);
        let mut found = kinds(bed, "own_history").await;
        assert_eq!(found.pop(), Some(2));
        let mut moved = found.split_off(expected.len());
        moved.sort_unstable();
        assert_eq!((found, moved), (expected, vec![0, 2]), "{}", B::LABEL);
    }
}

case! {
    long_names on sqlite, postgres, mysql;
    bed = bare::<B>(4, "select 1");
    "names as long as the server takes them, which differ at their ends alone";
    async fn<B>(bed) {
        let longest = if B::LABEL == "mysql" { 64 } else { 63 };
        let start = "x".repeat(longest - 1);
        let names = [format!("{start}a"), format!("{start}b")];
        for name in &names {
            made(bed, &format!("create table {name} (id int not null primary key, v int)"), name).await;
        }
        for name in &names {
            change(bed, &[&format!("insert into {name} values (1, 1)")]).await.unwrap();
            change(bed, &[&format!("delete from {name}")]).await.unwrap();
            verified(bed, &[name]).await;
        }
        assert_eq!(newest(bed).await, 4);
    }
}

case! {
    composite_keys on sqlite, postgres, mysql;
    bed = bare::<B>(4, "select 1");
    "a key of several columns, in an order of its own";
    async fn<B>(bed) {
        made(
            bed,
            "create table membership (role varchar(20), account bigint not null, team varchar(20) not null, primary key (team, account))",
            "membership",
        )
        .await;
        change(bed, &["insert into membership values ('a', 1, 'x'), ('a', 1, 'y'), ('a', 2, 'x')"]).await.unwrap();
        change(bed, &["update membership set role = 'b' where account = 1"]).await.unwrap();
        change(bed, &["update membership set team = 'z' where account = 2"]).await.unwrap();
        let all = bed
            .control_texts("select concat(team, account, ':', revtype, role) from membership_history order by rev, team, account")
            .await;
        assert_eq!(all, ["x1:0a", "x2:0a", "y1:0a", "x1:1b", "y1:1b", "x2:2a", "z2:0a"], "{}", B::LABEL);
    }
}

case! {
    in_a_schema on postgres, mysql;
    bed = bare::<B>(4, "select 1");
    "a table of another schema, with the revisions that all share";
    async fn<B>(bed) {
        let schema = if B::LABEL == "postgres" {
            bed.control_raw("create schema \"sch.ool\"").await;
            "sch.ool".to_owned()
        } else {
            bed.control_texts("select database()").await.remove(0)
        };
        let table = format!("{}.pupil", q::<B>(&schema));
        bed.control_raw(&format!("create table {table} (id int primary key, v int)")).await;
        bed.control_raw("create table teacher (id int primary key, v int)").await;
        let named = format!("\"{schema}\".pupil");
        audit(bed, &[&named, "teacher"]).await;
        change(bed, &[&format!("insert into {table} values (1, 1)"), "insert into teacher values (1, 1)"]).await.unwrap();
        assert_eq!(newest(bed).await, 1);
        let history = format!("select rev from {}.pupil_history union all select rev from teacher_history", q::<B>(&schema));
        assert_eq!(bed.control_ints(&history).await, [1, 1]);
    }
}

/// A table with the common types of a database, values for a row, and others for its columns.
struct Types {
    columns: &'static [(&'static str, &'static str, &'static str)],
    before: &'static str,
}

const POSTGRES: Types = Types {
    before: "create type mood as enum ('ok', 'bad'); create type pair as (a int, b text); create domain positive as int check (value > 0); ",
    columns: &[
        ("smallint", "1", "2"),
        ("integer", "1", "2"),
        ("bigint", "1", "9007199254740993"),
        ("serial", "1", "2"),
        ("numeric", "1.0", "1.00"),
        ("numeric(12, 3)", "1.5", "1.25"),
        ("real", "1.5", "'NaN'"),
        ("double precision", "1.5", "0.1"),
        ("boolean", "true", "false"),
        ("text", "'a'", "'A'"),
        ("varchar(10)", "'a'", "'a '"),
        ("char(5)", "'a'", "'b'"),
        ("text collate \"C\"", "'a'", "'b'"),
        ("bytea", "'\\x00'", "'\\x0001'"),
        ("date", "'2020-01-01'", "'infinity'"),
        ("time", "'10:00'", "'10:00:00.000001'"),
        ("timetz", "'10:00+01'", "'09:00+00'"),
        ("timestamp(3)", "'2020-01-01'", "'2020-01-02'"),
        ("timestamptz", "'2020-01-01'", "'2020-01-02'"),
        ("interval", "'1 day'", "'24 hours'"),
        (
            "uuid",
            "'00000000-0000-0000-0000-000000000001'",
            "'00000000-0000-0000-0000-000000000002'",
        ),
        ("json", "'{\"a\":1}'", "'{\"a\": 1}'"),
        ("jsonb", "'{\"a\":1}'", "'{\"a\":2}'"),
        ("xml", "'<a/>'", "'<b/>'"),
        ("point", "'(1,2)'", "'(1,3)'"),
        ("inet", "'127.0.0.1'", "'::1'"),
        ("macaddr", "'08:00:2b:01:02:03'", "'08:00:2b:01:02:04'"),
        ("bit(3)", "'101'", "'111'"),
        ("int[]", "'{1,2}'", "'{1,null}'"),
        ("text[]", "'{a}'", "'{}'"),
        ("int4range", "'[1,2)'", "'[1,3)'"),
        ("tsvector", "'a b'", "'a c'"),
        ("money", "'1'", "'2'"),
        ("mood", "'ok'", "'bad'"),
        ("pair", "'(1,a)'", "'(1,)'"),
        ("positive", "1", "2"),
    ],
};

const MYSQL: Types = Types {
    before: "",
    columns: &[
        ("tinyint", "1", "2"),
        ("tinyint(1)", "true", "false"),
        ("smallint unsigned", "1", "65535"),
        ("mediumint", "1", "2"),
        ("int", "1", "2"),
        ("bigint unsigned", "1", "18446744073709551615"),
        ("decimal(12,3)", "1.5", "1.25"),
        ("float", "1.5", "2.5"),
        ("double", "1.5", "0.1"),
        ("bit(3)", "b'101'", "b'111'"),
        ("char(5)", "'a'", "'A'"),
        ("varchar(10)", "'a'", "'a '"),
        ("varchar(10) character set latin1", "'e'", "'é'"),
        (
            "varchar(10) character set utf8mb4 collate utf8mb4_bin",
            "'a'",
            "'A'",
        ),
        ("tinytext", "'a'", "'b'"),
        ("text", "'a'", "'b'"),
        ("longtext", "'a'", "'b'"),
        ("binary(3)", "x'000001'", "x'000002'"),
        ("varbinary(10)", "x'00'", "x'0000'"),
        ("blob", "x'00'", "x'01'"),
        ("date", "'2020-01-01'", "'2020-01-02'"),
        ("time(3)", "'10:00:00'", "'10:00:00.001'"),
        (
            "datetime(6)",
            "'2020-01-01'",
            "'2020-01-01 00:00:00.000001'",
        ),
        (
            "timestamp",
            "'2020-01-01 10:00:00'",
            "'2020-01-02 10:00:00'",
        ),
        (
            "timestamp(3) null",
            "'2020-01-01 10:00:00'",
            "'2020-01-02 10:00:00'",
        ),
        ("year", "2020", "2021"),
        ("json", "'{\"a\":1}'", "'{\"a\":2}'"),
        ("enum('ok','it''s')", "'ok'", "'it''s'"),
        ("set('a','b')", "'a'", "'a,b'"),
        ("point", "point(1,2)", "point(1,3)"),
    ],
};

const SQLITE: Types = Types {
    before: "",
    columns: &[
        ("integer", "1", "9007199254740993"),
        ("int", "1", "2"),
        ("real", "1.5", "0.1"),
        ("text", "'a'", "'A'"),
        ("text collate nocase", "'a'", "'A'"),
        ("varchar(10)", "'a'", "'a '"),
        ("blob", "x'00'", "x'0001'"),
        ("numeric", "1", "1.5"),
        ("boolean", "1", "0"),
        ("datetime", "'2020-01-01'", "'2020-01-02'"),
        ("", "'1'", "x'31'"),
        ("json", "'{\"a\":1}'", "'{\"a\":2}'"),
    ],
};

fn types<B: Backend>() -> Types {
    match B::LABEL {
        "postgres" => POSTGRES,
        "mysql" => MYSQL,
        _ => SQLITE,
    }
}

/// What counts the rows of the history that hold the same as a row of the table, byte for byte.
fn equal_rows<B: Backend>(columns: usize) -> String {
    let same = match B::LABEL {
        "postgres" => |n: usize| {
            format!("(select x from (select t.c{n}) x) *= (select x from (select h.c{n}) x)")
        },
        "mysql" => |n: usize| format!("binary t.c{n} <=> binary h.c{n}"),
        _ => |n: usize| {
            format!("(typeof(t.c{n}) = typeof(h.c{n}) and t.c{n} collate binary is h.c{n})")
        },
    };
    let same: Vec<String> = (0..columns).map(same).collect();
    format!(
        "select count(*) from every t join every_history h on h.id = t.id where {} and h.rev = (select max(rev) from tx_revision)",
        same.join(" and ")
    )
}

case! {
    types on sqlite, postgres, mysql;
    bed = bare::<B>(4, "select 1");
    "every common type is recorded as it is, and its changes are seen, NULL among them";
    async fn<B>(bed) {
        let Types { columns, before } = types::<B>();
        let declared: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(n, (kind, ..))| format!("c{n} {kind}"))
            .collect();
        let create = format!("{before}create table every (id int not null primary key, {})", declared.join(", "));
        made(bed, &create, "every").await;
        let values: Vec<&str> = columns.iter().map(|(_, value, _)| *value).collect();
        change(bed, &[&format!("insert into every values (1, {})", values.join(", "))]).await.unwrap();
        let equal = equal_rows::<B>(columns.len());
        assert_eq!(bed.control_ints(&equal).await, [1], "{}", B::LABEL);
        for (n, (kind, value, other)) in columns.iter().enumerate() {
            let mut values = vec![*other, *value];
            if *kind != "serial" && !kind.starts_with("timestamp") {
                values.extend(["null", *value]);
            }
            for value in values {
                let before = newest(bed).await;
                let sql = format!("update every set c{n} = {value}");
                change(bed, &[&sql]).await.unwrap();
                assert_eq!(newest(bed).await, before + 1, "{}: {kind}: {sql}", B::LABEL);
                assert_eq!(bed.control_ints(&equal).await, [1], "{}: {kind}: {sql}", B::LABEL);
                change(bed, &[&sql]).await.unwrap();
                assert_eq!(newest(bed).await, before + 1, "{}: {kind}: {sql} again", B::LABEL);
            }
        }
        change(bed, &["delete from every"]).await.unwrap();
        assert_eq!(kinds(bed, "every_history").await.last(), Some(&2));
    }
}

case! {
    generated_columns on sqlite, postgres, mysql;
    bed = bare::<B>(4, "select 1");
    "generated columns and identities are recorded as values";
    async fn<B>(bed) {
        let create = match B::LABEL {
            "postgres" => "create table made (id bigint generated always as identity primary key, v int, twice int generated always as (v * 2) stored)",
            "mysql" => "create table made (id bigint auto_increment primary key, v int, twice int generated always as (v * 2) stored, thrice int generated always as (v * 3) virtual)",
            _ => "create table made (id integer primary key autoincrement, v int, twice int generated always as (v * 2) stored, thrice int generated always as (v * 3))",
        };
        made(bed, create, "made").await;
        change(bed, &["insert into made (v) values (1), (2)", "update made set v = v + 10"]).await.unwrap();
        let seen = "select twice from made_history where revtype = 0 order by id";
        assert_eq!(bed.control_ints(seen).await, [22, 24]);
        change(bed, &["update made set v = 5 where id = 1"]).await.unwrap();
        assert_eq!(bed.control_ints("select twice from made_history where revtype = 1").await, [10]);
        if B::LABEL != "postgres" {
            assert_eq!(bed.control_ints("select thrice from made_history where revtype = 1").await, [15]);
        }
    }
}

case! {
    set_on_update on mysql;
    bed = bare::<B>(4, "select 1");
    "a column that the server sets is recorded when it has set it, and not when it has not";
    async fn<B>(bed) {
        made(
            bed,
            "create table stamped (id int primary key, v int, at timestamp(6) default current_timestamp(6) on update current_timestamp(6))",
            "stamped",
        )
        .await;
        change(bed, &["insert into stamped values (1, 1, '2020-01-01')", "update stamped set v = 1"]).await.unwrap();
        assert_eq!(kinds(bed, "stamped_history").await, [0]);
        let before = newest(bed).await;
        change(bed, &["update stamped set v = 1"]).await.unwrap();
        assert_eq!(newest(bed).await, before, "nothing has changed");
        change(bed, &["update stamped set at = '2021-01-01'"]).await.unwrap();
        change(bed, &["update stamped set v = 2"]).await.unwrap();
        let equal = "select count(*) from stamped s join stamped_history h on h.id = s.id and h.at <=> s.at where h.rev = (select max(rev) from tx_revision)";
        assert_eq!(bed.control_ints(equal).await, [1]);
        assert_eq!(kinds(bed, "stamped_history").await, [0, 1, 1]);
    }
}

case! {
    unique_columns on sqlite, postgres, mysql;
    bed = bare::<B>(4, "select 1");
    "what is unique, checked or referenced in the table is not so in its history";
    async fn<B>(bed) {
        let create = "create table owner_of (id int not null primary key);
            insert into owner_of values (1), (2);
            create table login (id int not null primary key, name varchar(20) not null unique, owner_of int references owner_of (id), age int check (age > 0))";
        made(bed, create, "login").await;
        change(bed, &["insert into login values (1, 'a', 1, 1)"]).await.unwrap();
        change(bed, &["update login set name = 'b' where id = 1", "insert into login values (2, 'a', 1, 1)"]).await.unwrap();
        change(bed, &["delete from login"]).await.unwrap();
        bed.control("delete from owner_of").await;
        assert_eq!(kinds(bed, "login_history").await.len(), 5);
    }
}

case! {
    strict_and_without_rowid on sqlite;
    bed = bare::<B>(4, "select 1");
    "SQLite's own kinds of tables";
    async fn<B>(bed) {
        made(bed, "create table strict_one (id text primary key, v any, n int) strict, without rowid", "strict_one").await;
        change(bed, &["insert into strict_one values ('a', '1', 1)"]).await.unwrap();
        assert_eq!(bed.control_texts("select typeof(v) from strict_one_history").await, ["text"]);
        change(bed, &["update strict_one set v = 1"]).await.unwrap();
        assert_eq!(bed.control_texts("select typeof(v) from strict_one_history where revtype = 1").await, ["integer"]);
    }
}

case! {
    rows_from_before on sqlite, postgres, mysql;
    bed = bare::<B>(4, "create table t2 (id int not null primary key, v int); insert into t2 values (1, 1), (2, 2)");
    "the rows that are there already are the insertions of one revision";
    async fn<B>(bed) {
        audit(bed, &["t2"]).await;
        assert_eq!(bed.control_ints("select count(*) from t2_history where rev = 1 and revtype = 0").await, [2]);
        assert_eq!(newest(bed).await, 1);
    }
}

case! {
    truncate on postgres;
    bed = bare::<B>(4, "create table t2 (id int primary key)");
    "TRUNCATE, which has no rows to show, is refused";
    async fn<B>(bed) {
        audit(bed, &["t2"]).await;
        let refused = change(bed, &["truncate t2"]).await.unwrap_err().to_string();
        assert!(refused.contains("use DELETE"), "{refused}");
    }
}

case! {
    cascades on sqlite, postgres;
    bed = bare::<B>(
        4,
        "create table owner_of (id int not null primary key);
         create table owned (id int not null primary key, owner_of int references owner_of (id) on delete cascade)",
    );
    "what a foreign key deletes is recorded";
    async fn<B>(bed) {
        audit(bed, &["owner_of", "owned"]).await;
        change(bed, &["insert into owner_of values (1)", "insert into owned values (1, 1), (2, 1)"]).await.unwrap();
        change(bed, &["delete from owner_of"]).await.unwrap();
        assert_eq!(kinds(bed, "owned_history").await, [0, 0, 2, 2], "{}", B::LABEL);
    }
}

async fn refusal<B: Backend>(bed: &Bed<B>, table: &str) -> HistoryError {
    let verified = History::table(table).verify(&bed.db).await;
    verified.expect_err("the table can have no history")
}

case! {
    refused on sqlite, postgres, mysql;
    bed = bare::<B>(
        4,
        "create table keyless (v int); create table taken (id int not null primary key, rev int);
         create view seen as select * from taken",
    );
    "what can have no history is an error that names the remedy";
    async fn<B>(bed) {
        let missing = refusal(bed, "nowhere").await;
        assert!(matches!(missing, HistoryError::NoTable { .. }), "{missing}");
        let keyless = refusal(bed, "keyless").await;
        assert!(keyless.to_string().contains("ADD PRIMARY KEY"), "{keyless}");
        let view = refusal(bed, "seen").await;
        assert!(matches!(view, HistoryError::View { .. }), "{view}");
        let taken = refusal(bed, "taken").await;
        assert!(matches!(&taken, HistoryError::ReservedColumn { column, .. } if column == "rev"), "{taken}");
        match B::LABEL {
            "postgres" => {
                bed.control_raw(
                    "create table parts (id int primary key) partition by range (id);
                     create table part partition of parts for values from (1) to (10)",
                )
                .await;
                for table in ["parts", "part"] {
                    let parts = refusal(bed, table).await;
                    assert!(matches!(parts, HistoryError::Partitioned { .. }), "{parts}");
                }
            }
            "mysql" => {
                bed.control_raw("create table plain (id int primary key) engine = MyISAM").await;
                let plain = refusal(bed, "plain").await;
                assert!(plain.to_string().contains("InnoDB"), "{plain}");
            }
            _ => {
                let attached = refusal(bed, "temp.taken").await;
                assert!(matches!(attached, HistoryError::NoTable { .. }), "{attached}");
            }
        }
    }
}
