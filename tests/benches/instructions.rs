//! Instructions of scopes and statements beside hand-written sqlx, on SQLite in memory.
//!
//! `cargo bench -p tx-tests --bench instructions`; needs valgrind, on Linux. The program runs itself
//! under callgrind with two numbers of repetitions, and the difference is what one costs,
//! both of the caller's thread and of SQLite's worker thread.

use std::path::Path;
use std::process::Command;

use sqlx::{Sqlite, SqlitePool};
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
        ("a further `execute`", "hand-execute", "execute"),
        ("a further `fetch_one`", "hand-fetch-one", "fetch-one"),
        ("a further `query_scalar`", "hand-scalar", "scalar"),
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
            repeat(scenario, count, &pool)
                .await
                .expect("the scenario runs");
        });
}

async fn repeat(scenario: &str, count: u64, pool: &SqlitePool) -> Result<(), Error> {
    let db = Db::<Sqlite>::new(pool.clone());
    let select = || sqlx::query("select ?").bind(1_i64);
    let scalar = || sqlx::query_scalar::<_, i64>("select ?").bind(1_i64);
    match scenario {
        "hand-scope" | "hand-immediate-scope" => {
            for _ in 0..count {
                let mut tx = match scenario {
                    "hand-scope" => pool.begin().await?,
                    _ => pool.begin_with("BEGIN IMMEDIATE").await?,
                };
                select().execute(&mut *tx).await?;
                tx.commit().await?;
            }
        }
        "scope" => {
            for _ in 0..count {
                db.transaction(async || {
                    select().execute(&db).await?;
                    Ok::<_, Error>(())
                })
                .await?;
            }
        }
        "hand-execute" | "hand-fetch-one" | "hand-scalar" => {
            let mut tx = pool.begin().await?;
            for _ in 0..count {
                match scenario {
                    "hand-execute" => {
                        select().execute(&mut *tx).await?;
                    }
                    "hand-fetch-one" => {
                        select().fetch_one(&mut *tx).await?;
                    }
                    _ => assert_eq!(scalar().fetch_one(&mut *tx).await?, 1),
                }
            }
            tx.commit().await?;
        }
        "execute" | "fetch-one" | "scalar" => {
            db.transaction(async || {
                for _ in 0..count {
                    match scenario {
                        "execute" => {
                            select().execute(&db).await?;
                        }
                        "fetch-one" => {
                            select().fetch_one(&db).await?;
                        }
                        _ => assert_eq!(scalar().fetch_one(&db).await?, 1),
                    }
                }
                Ok::<_, Error>(())
            })
            .await?;
        }
        other => panic!("there is no scenario `{other}`"),
    }
    Ok(())
}
