//! Instructions of scopes and statements beside hand-written sqlx, on SQLite in memory.
//!
//! `cargo bench -p tx-tests --bench instructions`; needs valgrind, on Linux. The program runs itself
//! under callgrind with two numbers of repetitions, and the difference is what one costs,
//! both of the caller's thread and of SQLite's worker thread.

use std::path::Path;
use std::process::Command;

use sqlx::{Executor, Sqlite, SqlitePool};
use tx_runtime::{Db, Error};

const FEW: u64 = 500;
const MANY: u64 = 2500;

/// How often each is counted.
const RUNS: usize = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.as_slice() {
        [_, scenario, count] if count.parse::<u64>().is_ok() => {
            run(scenario, count.parse().expect("checked above"));
        }
        _ => compare(),
    }
}

fn compare() {
    println!("instructions on SQLite in memory    hand-written      ours   ratio");
    for (title, hand, ours) in [
        ("a scope with one statement", "hand-scope", "scope"),
        // What a scope that may write sends, so that it cannot fail half-way.
        ("the same, BEGIN IMMEDIATE", "hand-immediate-scope", "scope"),
        // Statements that touch no table are the dearest for us, in proportion.
        ("a further `execute`", "hand execute", "ours execute"),
        ("a further `fetch_one`", "hand fetch-one", "ours fetch-one"),
        ("a further `query_scalar`", "hand scalar", "ours scalar"),
        ("a row looked up by its key", "hand look-up", "ours look-up"),
        ("a row updated by its key", "hand update", "ours update"),
    ] {
        let (hand, ours) = (cost(hand), cost(ours));
        println!("{title:35} {hand:12.0} {ours:9.0} {:7.2}", ours / hand);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of millions, printed rounded"
)]
fn cost(scenario: &str) -> f64 {
    // Threads that wait for each other spin a little, so the lowest of several is the cost.
    let lowest = |count| (0..RUNS).map(|_| collected(scenario, count)).min();
    match (lowest(FEW), lowest(MANY)) {
        (Some(few), Some(many)) => (many as f64 - few as f64) / (MANY - FEW) as f64,
        _ => f64::NAN,
    }
}

fn collected(scenario: &str, count: u64) -> u64 {
    let program = std::env::current_exe().expect("a program knows its path");
    // On one core and in turns: otherwise how often one thread waits for the other is chance.
    let output = Command::new("taskset")
        .args(["--cpu-list", "0", "valgrind", "--fair-sched=yes"])
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(Path::new(&program))
        .args([scenario, &count.to_string()])
        .output()
        .expect("taskset and valgrind are installed");
    let report = String::from_utf8_lossy(&output.stderr);
    report
        .lines()
        .find_map(|line| line.split("Collected :").nth(1))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or_else(|| panic!("callgrind counted nothing: {report}"))
}

fn run(scenario: &str, count: u64) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts")
        .block_on(async {
            let pool = sqlx::pool::PoolOptions::new()
                .max_connections(1)
                .test_before_acquire(false)
                .connect("sqlite::memory:")
                .await
                .expect("SQLite in memory opens");
            sqlx::raw_sql(
                "create table t (id integer primary key, v integer); insert into t values (1, 0)",
            )
            .execute(&pool)
            .await
            .expect("the table is made");
            repeat(scenario, count, &pool)
                .await
                .expect("the scenario runs");
        });
}

async fn repeat(scenario: &str, count: u64, pool: &SqlitePool) -> Result<(), Error> {
    let db = Db::<Sqlite>::new(pool.clone());
    match scenario.split_once(' ').unwrap_or((scenario, "execute")) {
        ("hand-scope", _) => {
            for _ in 0..count {
                let mut tx = pool.begin().await?;
                statement("execute", &mut *tx).await?;
                tx.commit().await?;
            }
        }
        ("hand-immediate-scope", _) => {
            for _ in 0..count {
                let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
                statement("execute", &mut *tx).await?;
                tx.commit().await?;
            }
        }
        ("scope", _) => {
            for _ in 0..count {
                db.transaction(async || Ok::<_, Error>(statement("execute", &db).await?))
                    .await?;
            }
        }
        ("hand", kind) => {
            let mut tx = pool.begin().await?;
            for _ in 0..count {
                statement(kind, &mut *tx).await?;
            }
            tx.commit().await?;
        }
        ("ours", kind) => {
            db.transaction(async || {
                for _ in 0..count {
                    statement(kind, &db).await?;
                }
                Ok::<_, Error>(())
            })
            .await?;
        }
        _ => panic!("there is no scenario `{scenario}`"),
    }
    Ok(())
}

async fn statement<'e>(
    kind: &str,
    executor: impl Executor<'e, Database = Sqlite>,
) -> Result<(), sqlx::Error> {
    match kind {
        "execute" => {
            let select = sqlx::query("select ?").bind(1_i64);
            select.execute(executor).await?;
        }
        "fetch-one" => {
            let select = sqlx::query("select ?").bind(1_i64);
            select.fetch_one(executor).await?;
        }
        "scalar" => {
            let select = sqlx::query_scalar::<_, i64>("select ?").bind(1_i64);
            assert_eq!(select.fetch_one(executor).await?, 1);
        }
        "look-up" => {
            let select = sqlx::query("select v from t where id = ?").bind(1_i64);
            select.fetch_one(executor).await?;
        }
        "update" => {
            let update = sqlx::query("update t set v = v + ? where id = ?");
            update.bind(1_i64).bind(1_i64).execute(executor).await?;
        }
        _ => panic!("there is no statement `{kind}`"),
    }
    Ok(())
}
