//! B-05, B-06, B-13: what a subscriber of `tracing` sees, compared with the table that users read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use tx_runtime::{Error, Isolation, Propagation, Retry, TransactionOptions};
use tx_tests::{Backend, Bed, case, poll_n};

use super::recorder::{Recorder, Seen};

/// What users read.
const TABLES: &str = include_str!("../../../../tx-runtime/TRACING.md");

const SLOW: &str = "a scope takes long";
const IDLE: &str = "a transaction was open and idle for long";
const DOOMED: &str = "a transaction or savepoint can only roll back";
const FAILED: &str = "a scope that meant to commit has failed";

const LONG: Duration = Duration::from_hours(1);
const SHORT: Duration = Duration::from_nanos(1);

fn mode(propagation: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(propagation)
}

fn named(name: &'static str) -> TransactionOptions {
    TransactionOptions::new().name(name)
}

fn refused<T>() -> Result<T, Error> {
    Err(Error::Database(sqlx::Error::RowNotFound))
}

/// The rows below `heading`: the first cell, and the words in backquotes of each further one.
fn table(heading: &str) -> BTreeMap<String, Vec<BTreeSet<String>>> {
    let section = TABLES.split("\n## ").find(|it| it.starts_with(heading));
    let lines = section.expect("the section").lines();
    let rows = lines.map_while(|line| match line.strip_prefix('|') {
        Some(row) => Some(Some(row)),
        None if line.starts_with("| field") => None,
        None => Some(None),
    });
    let rows = rows.flatten().skip(2);
    rows.take_while(|row| !row.starts_with(" field "))
        .map(|row| {
            let mut cells = row.trim_end_matches('|').split(" | ");
            let name = cells.next().unwrap_or_default();
            let words = |cell: &str| {
                cell.split('`')
                    .skip(1)
                    .step_by(2)
                    .map(str::to_owned)
                    .collect()
            };
            (
                name.trim_matches([' ', '`']).to_owned(),
                cells.map(words).collect(),
            )
        })
        .collect()
}

fn declared(seen: &Seen) -> BTreeSet<String> {
    seen.declared.iter().map(|it| (*it).to_owned()).collect()
}

/// Checks that the tables say what was seen.
fn assert_documented(recorder: &Recorder) {
    let spans = table("Spans");
    for seen in recorder.all_spans() {
        let row = spans.get(&seen.name);
        let row = row.unwrap_or_else(|| panic!("no such span: {seen:?}"));
        assert_eq!(row.last(), Some(&declared(&seen)), "{}", seen.name);
        assert_eq!(seen.level, tracing::Level::DEBUG, "{}", seen.name);
    }
    let events = table("Events");
    for seen in recorder
        .all_events()
        .iter()
        .filter(|it| it.target.starts_with("tx_runtime"))
    {
        let row = events.get(&seen.name);
        let [levels, fields] = row.map(Vec::as_slice).unwrap_or_default() else {
            panic!("no such event: {seen:?}");
        };
        assert!(levels.contains(seen.level.as_str()), "{seen:?}");
        assert_eq!(fields, &declared(seen), "{}", seen.name);
    }
}

case! {
    b_05 on sqlite, postgres, mysql;
    "scope, transaction, hook and lock are spans, in each other, with the fields that the table names";
    async fn<B>(bed) {
        let recorder = Recorder::default();
        let options = named("outer").isolation(Isolation::Serializable).lock("k");
        recorder.record(bed.db.transaction_with(options, async || {
            bed.insert(1).await?;
            bed.db.transaction_with(named("joined"), async || Ok::<_, Error>(bed.insert(2).await?)).await?;
            bed.db.transaction_with(mode(Propagation::Nested).name("nested"), async || Ok::<_, Error>(bed.insert(3).await?)).await?;
            tracing::info!("of the body");
            bed.db.before_commit(async || ())?;
            bed.db.after_commit(async || Err::<(), _>("out of paper"))
        })).await.unwrap();
        assert_documented(&recorder);

        let seen: BTreeSet<_> = recorder.all_spans().into_iter().map(|it| it.name).collect();
        let all: BTreeSet<_> = table("Spans").into_keys().collect();
        assert_eq!(seen, all, "every span of the table");
        assert_eq!(recorder.values("scope", "function"), ["outer", "joined", "nested"]);
        assert_eq!(recorder.values("scope", "mode"), ["Required", "Required", "Nested"]);
        assert_eq!(recorder.values("scope", "role"), ["owner", "joined", "savepoint"]);
        assert_eq!(recorder.values("scope", "outcome"), ["committed", "kept", "released"]);
        assert_eq!(recorder.values("scope", "isolation"), ["Serializable", "", ""]);
        let [transaction] = recorder.spans("transaction").try_into().expect("one");
        let expected = [("function", "outer"), ("isolation", "Serializable"), ("read_only", "false"), ("statements", "3"), ("outcome", "committed")];
        for (field, value) in expected {
            assert_eq!(transaction.value(field), value, "{field}");
        }
        for field in ["waited", "held"] {
            let seconds: f64 = transaction.value(field).parse().expect("a number");
            assert!((0.0..60.0).contains(&seconds), "{field}: {seconds}");
        }
        assert_eq!(transaction.around.first(), Some(&"scope"));
        assert_eq!(recorder.values("hook", "kind"), ["before_commit", "after_commit"]);
        assert_eq!(recorder.values("hook", "outcome"), ["ok", "failed"]);
        let hooks = recorder.spans("hook");
        assert_eq!((hooks[0].around.as_slice(), hooks[1].around.len()), (&["scope"][..], 0));
        assert!(hooks[1].value("registered").contains("spans.rs:"));
        assert_eq!(recorder.values("lock.hold", "key"), ["k"]);
        // What the body logs is in its scope.
        let events = recorder.all_events();
        let body = events.iter().find(|it| it.name == "of the body").expect("the body's event");
        assert_eq!(body.around, ["scope"]);
        bed.db.drain().await;
        if B::SERVER {
            assert!(recorder.all_spans().iter().all(|it| it.closed));
        }
        // On SQLite the last to let go of a span is sqlx's own thread, where this subscriber, which
        // is not a global one, cannot close the span around it.
    }
}

case! {
    b_05_lazy on sqlite, postgres, mysql;
    "a scope in which nothing ran has no span of a transaction, one without a transaction says so";
    async fn<B>(bed) {
        let recorder = Recorder::default();
        recorder.record(async {
            bed.db.transaction(async || Ok::<_, Error>(())).await.unwrap();
            bed.db.transaction_with(mode(Propagation::NotSupported), async || Ok::<_, Error>(bed.insert(1).await?)).await.unwrap();
        }).await;
        assert!(recorder.spans("transaction").is_empty());
        assert_eq!(recorder.values("scope", "role"), ["owner", "autocommit"]);
        assert_eq!(recorder.values("scope", "outcome"), ["committed", ""]);
        assert_documented(&recorder);
    }
}

case! {
    b_05_tx on sqlite, postgres, mysql;
    "an explicit transaction has the same spans";
    async fn<B>(bed) {
        let recorder = Recorder::default();
        recorder.record(async {
            let tx = bed.db.begin_with(named("by hand").read_only()).await.unwrap();
            tx.within(async || {
                tracing::info!("within");
                bed.visible().await
            }).await.unwrap();
            tx.commit().await.unwrap();
        }).await;
        assert_eq!(recorder.values("scope", "function"), ["by hand"]);
        assert_eq!(recorder.values("scope", "outcome"), ["committed"]);
        assert_eq!(recorder.values("transaction", "read_only"), ["true"]);
        assert_eq!(recorder.spans("transaction")[0].around, ["scope"]);
        let events = recorder.all_events();
        assert_eq!(events.iter().find(|it| it.name == "within").expect("it").around, ["scope"]);
        assert_documented(&recorder);
    }
}

case! {
    b_06 on sqlite, postgres, mysql;
    "every way to end is a word in the span, and what is unexpected is an event with its cause";
    async fn<B>(bed) {
        let recorder = Recorder::default();
        recorder.record(async {
            bed.db.transaction(async || { bed.insert(1).await?; refused::<()>() }).await.unwrap_err();
            bed.db.transaction_with(named("unexpected"), async || {
                bed.insert(1).await?;
                let failing = bed.db.transaction_with(named("culprit"), async || refused::<()>());
                failing.await.unwrap_err();
                Ok::<_, Error>(())
            }).await.unwrap_err();
            let late = named("late").timeout(Duration::from_millis(1));
            bed.db.transaction_with(late, async || std::future::pending::<Result<(), Error>>().await).await.unwrap_err();
            poll_n(bed.db.transaction(async || {
                bed.insert(1).await?;
                std::future::pending::<Result<(), Error>>().await
            }), 1).await;
            bed.db.drain().await;
            bed.db.transaction(async || {
                bed.insert(1).await?;
                let undone = bed.db.savepoint(async || { bed.insert(2).await?; refused::<()>() });
                undone.await.unwrap_err();
                Ok::<_, Error>(())
            }).await.unwrap();
        }).await;
        let expected = ["rolled_back", "unexpected_rollback", "doomed", "timed_out", "dropped", "committed", "rolled_back"];
        assert_eq!(recorder.values("scope", "outcome"), expected);
        let dooms = recorder.events(DOOMED);
        let culprit = dooms.iter().find(|it| it.value("kind") == "Returned").expect("the culprit");
        assert!(culprit.value("function").contains("unexpected") && culprit.value("by").contains("culprit"), "{culprit:?}");
        let [failed] = recorder.events(FAILED).try_into().expect("one that meant to commit");
        assert_eq!(failed.level, tracing::Level::WARN);
        assert!(failed.value("error").contains("culprit"), "{failed:?}");
        assert_eq!(failed.around, ["scope"]);
        assert_documented(&recorder);
    }
}

case! {
    b_06_unknown on postgres, mysql; bed = Bed::<B>::impatient(1);
    "an unknown outcome is one in both spans, and an event of level ERROR";
    async fn<B>(bed, proxy) {
        let recorder = Recorder::default();
        proxy.cut_after("COMMIT");
        recorder.record(async {
            let lost = bed.db.transaction(async || {
                bed.insert(1).await?;
                proxy.shut(true);
                Ok::<_, Error>(())
            });
            lost.await.unwrap_err();
            proxy.shut(false);
        }).await;
        assert_eq!(recorder.values("scope", "outcome"), ["unknown"]);
        assert_eq!(recorder.values("transaction", "outcome"), ["unknown"]);
        assert_eq!(recorder.events(FAILED)[0].level, tracing::Level::ERROR);
        assert_documented(&recorder);
    }
}

case! {
    b_06_conflict on postgres, mysql;
    "each attempt is a scope and a transaction of its own, with its number";
    async fn<B>(bed) {
        bed.control("insert into t (id) values (1)").await;
        let recorder = Recorder::default();
        let options = named("retried").isolation(Isolation::Serializable);
        let retry = Retry::attempts(3).backoff(Duration::from_millis(1), Duration::from_millis(2));
        let mut attempt = 0;
        let attempts = bed.db.retrying(retry, options, || {
            attempt += 1;
            let first = attempt == 1;
            async move {
                if first {
                    conflict(bed).await?;
                }
                bed.insert(2).await?;
                Ok::<_, Error>(())
            }
        });
        recorder.record(attempts).await.unwrap();
        assert_eq!(recorder.values("scope", "attempt"), ["1", "2"]);
        assert_eq!(recorder.values("scope", "outcome"), ["conflict", "committed"]);
        assert_eq!(recorder.values("transaction", "outcome"), ["rolled_back", "committed"]);
        assert_documented(&recorder);
    }
}

/// Fails as a statement does that was in conflict with others.
async fn conflict<B: Backend>(bed: &Bed<B>) -> Result<(), Error> {
    // A server raises what it is told to, by the code that a retry looks for.
    let raise = if B::LABEL == "postgres" {
        "do $$ begin raise sqlstate '40001'; end $$"
    } else {
        "signal sqlstate '40001' set mysql_errno = 1213"
    };
    B::raw(&bed.db, raise).await?;
    Ok(())
}

case! {
    b_13 on postgres, mysql;
    "sqlx's own events for BEGIN, the statements and COMMIT are in the transaction's span, in order";
    async fn<B>(bed) {
        let recorder = Recorder::default();
        recorder.record(bed.db.transaction(async || Ok::<_, Error>(bed.insert(1).await?))).await.unwrap();
        let events = recorder.all_events();
        let queries: Vec<_> = events.iter().filter(|it| it.target == "sqlx::query").collect();
        let inside = queries.iter().filter(|it| it.around.first() == Some(&"transaction"));
        let inside: Vec<_> = inside.map(|it| it.value("summary").to_lowercase()).collect();
        assert!(inside.len() >= 3, "{queries:?}");
        let place = |word: &str| inside.iter().position(|it| it.contains(word));
        assert_eq!(place("insert"), Some(inside.len() - 2), "{inside:?}");
    }
}

/// A statement, and nothing more.
fn nothing<B: Backend>(bed: &Bed<B>) -> impl AsyncFn() -> Result<(), Error> {
    async || {
        bed.visible().await?;
        bed.visible().await?;
        Ok(())
    }
}

case! {
    b_14_slow on sqlite, postgres, mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.warn_slow_scopes(SHORT));
    "a scope that takes long is warned of while it does, once, with whether it is open";
    async fn<B>(bed) {
        let recorder = Recorder::default();
        let waits = async |name: &'static str| {
            bed.db.transaction_with(named(name), async || {
                recorder.wait_for(SLOW, name).await;
                Ok::<_, Error>(())
            }).await
        };
        recorder.record(waits("empty")).await.unwrap();
        recorder.record(bed.db.transaction_with(named("outer"), async || {
            bed.insert(1).await?;
            waits("joined").await
        })).await.unwrap();
        for (name, open) in [("empty", "false"), ("joined", "true")] {
            let seen = recorder.events(SLOW).into_iter().filter(|it| it.value("function").contains(name));
            let [seen] = seen.collect::<Vec<_>>().try_into().expect("one warning");
            assert_eq!((seen.value("limit"), seen.value("open")), ("1ns", open), "{name}");
        }
        // An explicit transaction is told of at its end.
        recorder.record(async {
            let tx = bed.db.begin_with(named("by hand")).await.unwrap();
            tx.commit().await.unwrap();
        }).await;
        assert!(recorder.events(SLOW).last().is_some_and(|it| it.value("function").contains("by hand")));
        assert_documented(&recorder);
    }
}

case! {
    b_14_idle on sqlite, postgres, mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.warn_idle_transactions(SHORT));
    "a transaction that was idle for long is warned of by its number";
    async fn<B>(bed) {
        let recorder = Recorder::default();
        let id = recorder.record(bed.db.transaction_with(named("idle"), async || {
            nothing(bed)().await?;
            Ok::<_, Error>(bed.db.transaction_info()?.id())
        })).await.unwrap();
        // Before the first statement, between the two, and before COMMIT.
        let seen = recorder.events(IDLE);
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!(seen.iter().all(|it| it.value("transaction") == id.to_string()));
        assert_documented(&recorder);
    }
}

case! {
    b_14_quiet on sqlite, postgres, mysql;
    bed = Bed::<B>::build(|pool| pool, |builder| builder.warn_idle_transactions(LONG).warn_slow_scopes(LONG));
    "nobody is warned below the limits";
    async fn<B>(bed) {
        let recorder = Recorder::default();
        recorder.record(bed.db.transaction(nothing(bed))).await.unwrap();
        assert!(recorder.events(IDLE).is_empty() && recorder.events(SLOW).is_empty());
    }
}

/// The events in the sources: their messages, with their levels and fields.
fn events_of(source: &str, found: &mut BTreeMap<String, [BTreeSet<String>; 2]>) {
    for level in ["error", "warn", "info", "debug", "trace"] {
        for arguments in source.split(&format!("tracing::{level}!(")).skip(1) {
            let mut depth = 1;
            let mut quoted = false;
            let mut parts = vec![String::new()];
            for letter in arguments.chars() {
                match letter {
                    '"' => quoted = !quoted,
                    '(' if !quoted => depth += 1,
                    ')' if !quoted => depth -= 1,
                    ',' if !quoted && depth == 1 => {
                        parts.push(String::new());
                        continue;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                if let Some(part) = parts.last_mut() {
                    part.push(letter);
                }
            }
            let mut parts: Vec<_> = parts
                .iter()
                .map(|it| it.trim())
                .filter(|it| !it.is_empty())
                .collect();
            let message = parts.pop().unwrap_or_default().trim_matches('"');
            let fields = parts.iter().map(|part| {
                let name = part.split('=').next().unwrap_or_default();
                name.trim().trim_start_matches(['%', '?']).to_owned()
            });
            let [levels, known] = found.entry(message.to_owned()).or_default();
            levels.insert(level.to_uppercase());
            known.extend(fields);
        }
    }
}

fn read_sources(directory: &Path, found: &mut BTreeMap<String, [BTreeSet<String>; 2]>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_sources(&path, found);
        } else {
            events_of(&std::fs::read_to_string(&path).expect("text"), found);
        }
    }
}

#[test]
fn every_event_of_the_sources_is_in_the_table_and_no_other() {
    let mut found = BTreeMap::new();
    read_sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../tx-runtime/src"),
        &mut found,
    );
    let table: BTreeMap<_, _> = table("Events");
    let found: BTreeMap<_, _> = found
        .into_iter()
        .map(|(name, sets)| (name, sets.to_vec()))
        .collect();
    assert_eq!(found, table);
}
