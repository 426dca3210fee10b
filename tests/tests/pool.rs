//! The pool as a scarce thing: chains that need several of its connections at once, SQLite's
//! one writer, and a thousand calls of every kind that must give every connection back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use sqlx::{Connection as _, Pool};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tx_runtime::{Db, Error, Propagation, TransactionOptions, transactional};
use tx_tests::{Backend, Bed, Dice, all_acquired, case, poll_n};

/// How many chains compete for a pool of 4.
const CHAINS: i64 = 64;

/// Whether what began then has ended without a wait for a connection that does not come: such a
/// wait takes as long as the pool lets it.
fn has_not_waited<B: Backend>(pool: &Pool<B>, started: Instant) -> bool {
    started.elapsed() < pool.options().get_acquire_timeout()
}

async fn insert<B: Backend>(db: &Db<B>, id: i64) -> Result<(), Error> {
    B::exec(db, &format!("insert into t (id) values ({id})")).await?;
    Ok(())
}

/// `depth` transactions around each other, each with a row of its own.
fn chain<B: Backend>(db: &Db<B>, id: i64, depth: i64) -> BoxFuture<'_, Result<(), Error>> {
    let new = TransactionOptions::new().propagation(Propagation::RequiresNew);
    Box::pin(db.transaction_with(new, async move || {
        insert(db, id + depth).await?;
        if depth > 1 {
            chain(db, id, depth - 1).await?;
        }
        Ok(())
    }))
}

/// Runs all chains at once, each in a task of its own.
async fn chains<B: Backend>(bed: &Arc<Bed<B>>, first: i64, depth: i64) -> Vec<Result<(), Error>> {
    let mut tasks = JoinSet::new();
    for id in first..first + CHAINS {
        let bed = Arc::clone(bed);
        tasks.spawn(async move { chain(&bed.db, id * 10, depth).await });
    }
    tasks.join_all().await
}

fn rows_of_chains(depth: i64) -> Vec<i64> {
    (0..CHAINS)
        .flat_map(|id| (1..=depth).map(move |row| id * 10 + row))
        .collect()
}

#[transactional]
async fn outer<B: Backend>(db: &Db<B>, id: i64) -> Result<(), Error> {
    insert(db, id).await?;
    inner(db, id + 1).await
}

#[transactional(propagation = RequiresNew)]
async fn inner<B: Backend>(db: &Db<B>, id: i64) -> Result<(), Error> {
    insert(db, id).await
}

// ----- servers: many writers, few connections ------------------------------------------

case! {
    chains_of_two on postgres, mysql; pool = 4;
    "64 chains of Required and RequiresNew share a pool of 4 without a timeout";
    async fn<B>(bed) {
        let calls = (0..CHAINS).map(|id| outer(&bed.db, id * 10 + 1));
        for result in join_all(calls).await {
            result.unwrap();
        }
        assert_eq!(bed.rows().await, rows_of_chains(2));
    }
}

case! {
    chains_of_two_on_threads on postgres, mysql; pool = 2;
    "the same with a pool of no more connections than one chain needs, on several threads";
    async fn<B>(bed) {
        for result in chains(bed, 0, 2).await {
            result.unwrap();
        }
        assert_eq!(bed.rows().await, rows_of_chains(2));
    }
}

case! {
    chains_of_two_plainly on postgres, mysql;
    bed = Bed::<B>::build(
        |pool| pool.max_connections(4).acquire_timeout(Duration::from_millis(300)),
        |builder| builder,
    );
    "the evil: plain sqlx, as many chains as connections, and each waits for the others";
    async fn<B>(bed) {
        let pool = bed.db.pool();
        let connections = all_acquired(pool).await;
        let inner = connections.into_iter().map(async |mut connection| {
            let outer = connection.begin().await.unwrap();
            let inner = pool.begin().await.map(drop);
            outer.rollback().await.unwrap();
            drop(connection);
            inner
        });
        let inner = join_all(inner).await;
        // The first to give up lets others go on.
        let in_vain = |result| matches!(result, &Err(sqlx::Error::PoolTimedOut));
        assert!(inner.iter().any(in_vain), "{inner:?}");
    }
}

case! {
    chains_of_three on postgres, mysql;
    bed = Bed::<B>::build(|pool| pool.max_connections(4), |builder| builder.nesting_depth(3));
    "64 chains of three transactions each, of a declared depth, share a pool of 4";
    async fn<B>(bed) {
        for result in chains(bed, 0, 3).await {
            result.unwrap();
        }
        assert_eq!(bed.rows().await, rows_of_chains(3));
    }
}

case! {
    chains_deeper_than_declared on postgres, mysql; pool = 4;
    "chains deeper than declared are at worst refused, and only the first time";
    async fn<B>(bed) {
        let started = Instant::now();
        for result in chains(bed, 0, 3).await {
            assert!(matches!(result, Ok(()) | Err(Error::PoolTooSmall { .. })), "{result:?}");
        }
        for result in chains(bed, CHAINS, 3).await {
            result.unwrap();
        }
        assert!(has_not_waited(bed.db.pool(), started), "somebody has waited to the end");
    }
}

case! {
    pool_of_one on postgres, mysql; pool = 1;
    "a pool of one refuses RequiresNew at once and names both functions";
    async fn<B>(bed) {
        let started = Instant::now();
        let refused = outer(&bed.db, 1).await.unwrap_err();
        assert!(has_not_waited(bed.db.pool(), started), "{:?}", started.elapsed());
        assert!(matches!(refused, Error::PoolTooSmall { size: 1, needed: 2, .. }), "{refused:?}");
        let text = refused.to_string();
        assert!(text.contains("inner") && text.contains("outer"), "{text}");
        assert!(bed.rows().await.is_empty());
        // Without a transaction outside there is nothing to wait for.
        inner(&bed.db, 2).await.unwrap();
        assert_eq!(bed.rows().await, [2]);
    }
}

case! {
    locks_among_the_connections_of_a_chain on postgres, mysql; pool = 4;
    "two chains that wait for each other with connections of locks in their hands are told so";
    async fn<B>(bed) {
        let both_have_two = Barrier::new(2);
        let chain = async |id: i64| {
            let scope = bed.db.transaction(async || {
                insert(&bed.db, id).await?;
                let [first, second] = ["first", "second"].map(|key| format!("{key} {id}"));
                let under_first = bed.db.locked(&first, async || {
                    both_have_two.wait().await;
                    bed.db.locked(&second, async || Ok::<_, Error>(())).await
                });
                under_first.await
            });
            scope.await
        };
        let started = Instant::now();
        let chains = [chain(1), chain(2)];
        let ended = join_all(chains).await;
        assert!(has_not_waited(bed.db.pool(), started), "somebody has waited to the end");
        let refused = |end: &&_| matches!(end, Err(Error::PoolTooSmall { .. }));
        assert_eq!(ended.iter().filter(refused).count(), 1, "{ended:?}");
        assert!(ended.iter().any(Result::is_ok), "{ended:?}");
    }
}

// ----- SQLite: one writer --------------------------------------------------------------

case! {
    second_writer on sqlite; pool = 4;
    "SQLite's second writer in one chain is refused at once, and both functions are named";
    async fn<B>(bed) {
        let started = Instant::now();
        let refused = outer(&bed.db, 1).await.unwrap_err();
        assert!(has_not_waited(bed.db.pool(), started), "{:?}", started.elapsed());
        assert!(matches!(refused, Error::SecondWriter { .. }), "{refused:?}");
        let text = refused.to_string();
        assert!(text.contains("inner") && text.contains("outer"), "{text}");
        assert!(bed.rows().await.is_empty());
    }
}

case! {
    sqlite_writers on sqlite; pool = 4;
    "64 chains that read and then write share SQLite's one writer, and nobody is BUSY";
    async fn<B>(bed) {
        let mut tasks = JoinSet::new();
        for id in 0..CHAINS {
            let bed = Arc::clone(bed);
            tasks.spawn(async move {
                let db = &bed.db;
                let work = db.transaction(async || {
                    let before = bed.visible().await?.len();
                    bed.insert(10 * id).await?;
                    db.savepoint(async || insert(db, 10 * id + 1).await).await?;
                    assert_eq!(bed.visible().await?.len(), before + 2, "another wrote in between");
                    Ok::<_, Error>(())
                });
                work.await
            });
        }
        for result in tasks.join_all().await {
            result.unwrap();
        }
        let pairs = (0..CHAINS).flat_map(|id| [10 * id, 10 * id + 1]);
        assert_eq!(bed.rows().await, pairs.collect::<Vec<_>>());
    }
}

case! {
    sqlite_writers_plainly on sqlite; pool = 4;
    "the evil: plain sqlx, two transactions that read and then write, and one is BUSY";
    async fn<B>(bed) {
        let both_have_read = Barrier::new(2);
        let chain = async |id: i64| {
            let mut transaction = bed.db.pool().begin().await?;
            B::ints(B::on(&mut transaction), "select id from t").await?;
            both_have_read.wait().await;
            let sql = format!("insert into t (id) values ({id})");
            B::exec(B::on(&mut transaction), &sql).await?;
            transaction.commit().await
        };
        let (one, two) = tokio::join!(chain(1), chain(2));
        assert!(one.is_err() || two.is_err(), "{one:?}, {two:?}");
    }
}

// ----- everything at once --------------------------------------------------------------

const MODES: [Propagation; 8] = [
    Propagation::Required,
    Propagation::RequiresNew,
    Propagation::Isolated,
    Propagation::Nested,
    Propagation::Mandatory,
    Propagation::Supports,
    Propagation::NotSupported,
    Propagation::Never,
];

/// How many calls the storm makes, and how many of them at once.
const CALLS: usize = 1_000;
const CALLERS: usize = 25;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ok,
    Err,
    Panic,
    /// Dropped when it is pending for this many times, if it ever is.
    Cancelled(usize),
}

/// One call: a scope in a scope, up to three deep.
#[derive(Clone, Copy, Debug)]
struct Level {
    mode: Propagation,
    end: End,
}

#[derive(Clone, Debug)]
struct Plan {
    id: i64,
    levels: Vec<Level>,
}

impl Plan {
    fn roll(dice: &mut Dice, id: i64) -> Self {
        let levels = (0..=dice.pick(3)).map(|_| Level {
            mode: dice.one_of(&MODES),
            end: match dice.pick(6) {
                0 => End::Err,
                1 => End::Panic,
                2 => End::Cancelled(1 + dice.pick(12)),
                _ => End::Ok,
            },
        });
        let levels = levels.collect();
        Self { id, levels }
    }

    /// Whether nothing in the plan itself keeps its rows from being stored.
    fn goes_well(&self) -> bool {
        self.levels.iter().all(|level| level.end == End::Ok)
    }

    fn rows(&self) -> Vec<i64> {
        let levels = i64::try_from(self.levels.len()).expect("three at most");
        (self.id..self.id + levels).collect()
    }
}

/// Runs the level `at` and those inside it; what goes wrong inside is swallowed.
///
/// `well` becomes false when anything was refused or failed.
fn run<'a, B: Backend>(
    db: &'a Db<B>,
    plan: &'a Plan,
    at: usize,
) -> BoxFuture<'a, Result<bool, Error>> {
    let Some(&Level { mode, end }) = plan.levels.get(at) else {
        return Box::pin(async { Ok(true) });
    };
    let id = plan.id + i64::try_from(at).expect("three at most");
    // A lock of the call's own: it is there for Isolated, not to be waited for.
    let key = format!("{id}");
    let options = TransactionOptions::new().propagation(mode);
    let scope = async move {
        db.locked(&key, async || {
            let scope = db.transaction_with(options, async || {
                insert(db, id).await?;
                let inside = guarded(db, plan, at + 1).await;
                match end {
                    End::Err => Err(sqlx::Error::RowNotFound.into()),
                    // Without the message that a real panic prints, 150 times.
                    End::Panic => std::panic::resume_unwind(Box::new("planned")),
                    End::Ok | End::Cancelled(_) => Ok(inside),
                }
            });
            scope.await
        })
        .await
    };
    match end {
        End::Cancelled(polls) => Box::pin(async move {
            let (output, _) = poll_n(scope, polls).await;
            output.unwrap_or(Ok(false))
        }),
        _ => Box::pin(scope),
    }
}

/// Runs a level and says whether it and those inside it went well.
async fn guarded<B: Backend>(db: &Db<B>, plan: &Plan, at: usize) -> bool {
    let outcome = AssertUnwindSafe(run(db, plan, at)).catch_unwind().await;
    matches!(outcome, Ok(Ok(true)))
}

case! {
    storm on sqlite, postgres, mysql; pool = 4;
    "1000 calls of every mode, depth and end leave the pool as they found it";
    async fn<B>(bed) {
        let seed = Dice::wished_seed();
        println!("to see this storm again: TX_TEST_SEED={seed}");
        let mut dice = Dice::new(seed);
        let plans: Vec<_> = (0..).step_by(10).take(CALLS).map(|id| Plan::roll(&mut dice, id)).collect();
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let bed = Arc::clone(bed);
            let share: Vec<_> = plans.iter().skip(caller).step_by(CALLERS).cloned().collect();
            callers.spawn(async move {
                let mut stored = Vec::new();
                for plan in share {
                    let limit = Duration::from_mins(2);
                    let well = timeout(limit, guarded(&bed.db, &plan, 0)).await;
                    let well = well.unwrap_or_else(|_| panic!("it hangs: {plan:?}"));
                    if well && plan.goes_well() {
                        stored.extend(plan.rows());
                    }
                    assert!(!bed.db.is_in_transaction(), "{plan:?}");
                }
                stored
            });
        }
        let promised: Vec<i64> = callers.join_all().await.into_iter().flatten().collect();
        bed.assert_clean().await;
        let rows = bed.rows().await;
        let missing: Vec<_> = promised.iter().filter(|id| !rows.contains(id)).collect();
        assert!(missing.is_empty(), "said to be stored, but are not: {missing:?}");
        assert!(promised.len() > CALLS / 20, "hardly any call went well");
    }
}
