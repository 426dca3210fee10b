//! Throughput of scopes that wait for something else before their first statement.
//!
//! `cargo bench -p tx-tests --bench throughput`. 64 chains over a pool of four connections run
//! one scope after another, and each waits 5 ms, as for an HTTP call, before it asks the
//! database. Begun first, a transaction holds a connection while it waits.

use std::time::{Duration, Instant};

use sqlx::pool::PoolOptions;
use sqlx::{MySql, Pool, Postgres, Sqlite};
use tokio::task::JoinSet;
use tx_runtime::{Db, Error};
use tx_tests::{Backend, Bed};

const STATEMENT: &str = "select v from t where id = 1";
const POOL: u32 = 4;
const CHAINS: u32 = 64;
const OTHER_WORK: Duration = Duration::from_millis(5);

/// How long each side runs, and how often they take turns.
const PERIOD: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() {
    println!("scopes a second, medians of {ROUNDS}; in brackets how many times BEGIN first");
    println!("             BEGIN first   BEGIN after the wait           ours");
    compare::<Sqlite>().await;
    compare::<Postgres>().await;
    compare::<MySql>().await;
}

async fn compare<B: Backend>() {
    let Some(bed) = Bed::<B>::connected(POOL).await else {
        return;
    };
    let hand: Pool<B> = PoolOptions::new()
        .max_connections(POOL)
        .connect_lazy_with(bed.options().clone());
    let (mut first, mut after, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        first.push(rate(&hand, begin_first).await);
        after.push(rate(&hand, begin_after).await);
        ours.push(rate(&bed.db, lazily).await);
    }
    hand.close().await;
    bed.finish().await;
    let (first, after, ours) = (median(first), median(after), median(ours));
    println!(
        "{:10} {first:13.0} {after:15.0} ({:4.1}) {ours:9.0} ({:4.1})",
        B::LABEL,
        after / first,
        ours / first
    );
}

/// How many scopes a second all chains together get through.
async fn rate<D, F>(database: &D, scope: fn(D) -> F) -> f64
where
    D: Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let began = Instant::now();
    let mut chains = JoinSet::new();
    for _ in 0..CHAINS {
        let database = database.clone();
        chains.spawn(async move {
            let mut scopes = 0_u32;
            while began.elapsed() < PERIOD {
                scope(database.clone()).await;
                scopes += 1;
            }
            scopes
        });
    }
    let scopes: u32 = chains.join_all().await.into_iter().sum();
    f64::from(scopes) / began.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

async fn begin_first<B: Backend>(pool: Pool<B>) {
    let mut tx = pool.begin().await.expect("it begins");
    tokio::time::sleep(OTHER_WORK).await;
    B::ints(B::on(&mut tx), STATEMENT)
        .await
        .expect("the row is there");
    tx.commit().await.expect("it commits");
}

async fn begin_after<B: Backend>(pool: Pool<B>) {
    tokio::time::sleep(OTHER_WORK).await;
    let mut tx = pool.begin().await.expect("it begins");
    B::ints(B::on(&mut tx), STATEMENT)
        .await
        .expect("the row is there");
    tx.commit().await.expect("it commits");
}

async fn lazily<B: Backend>(db: Db<B>) {
    let done = db.transaction(async || {
        tokio::time::sleep(OTHER_WORK).await;
        B::ints(&db, STATEMENT).await?;
        Ok::<_, Error>(())
    });
    done.await.expect("it commits");
}
