//! The model test: random trees of scopes do on real databases what the contract says.
//!
//! A tree (`tree`) is a program of scopes of every mode and form in each other, with
//! statements, hooks, errors, panics and dropped futures, over two databases; `grow` makes one
//! of a seed. `model` says what becomes of it, from the contract alone: what every scope and
//! statement returns, what every SELECT sees, which hooks run when, what is stored. `run` does
//! it through the `Db`s of two databases (`place`), and `compare` tells the two apart. A tree
//! on which they differ is made smaller (`shrink`) and printed as a program.
//!
//! `TX_TEST_SEED` begins with the tree of that seed, `TX_TEST_TREES` says how many are run.

mod compare;
mod engine;
mod event;
mod grow;
mod model;
mod place;
mod problem;
mod run;
mod shrink;
mod tree;

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlx::{MySql, Postgres, Sqlite};
use tokio::time::timeout;
use tx_tests::{Backend, Dice, wish};

use crate::engine::Engine;
use crate::place::place;
use crate::run::Places;
use crate::tree::Tree;

/// How many trees are run on every database.
const TREES: u64 = 20_000;

/// How many are run on two databases of different kinds.
const MIXED_TREES: u64 = 2_000;

/// How many run at once, each on two databases of its own. A server has 100 connections by
/// default, and the pools of a lane may come to want 32 of them.
const LANES: usize = 2;

/// How many of those on different kinds run at once, beside the others.
const MIXED_LANES: usize = 1;

/// How long a tree may take; nothing in it waits for long.
const PATIENCE: Duration = Duration::from_mins(5);

/// After so many trees every connection is tried.
const OFTEN: i64 = 200;

/// How many smaller trees are tried for one that has failed.
const ATTEMPTS: usize = 1_000;

/// Two databases on which one tree runs after another.
struct Lane {
    places: Places,
    engines: [Engine; 2],
    /// Above the ids of all rows so far.
    base: Cell<i64>,
}

impl Lane {
    async fn new<A: Backend, B: Backend>() -> Option<Self> {
        let places: Places = [place::<A>().await?, place::<B>().await?];
        let engines = [&places[0], &places[1]].map(|place| place.engine());
        Some(Self {
            places,
            engines,
            base: Cell::new(0),
        })
    }

    /// What speaks against `tree`, in words.
    async fn check(&self, tree: &Tree) -> Option<String> {
        let predicted = model::predict(tree, self.engines);
        let base = self.base.get() + 1_000;
        self.base.set(base);
        for place in &self.places {
            if !place.stored().await.is_empty() {
                place.clear().await;
            }
        }
        let Ok(seen) = timeout(PATIENCE, run::run(tree, &self.places, base)).await else {
            return Some("it hangs".to_owned());
        };
        if let Some(difference) = compare::difference(&predicted, &seen) {
            return Some(difference);
        }
        for place in &self.places {
            place.drain().await;
            let rest = if (base / 1_000) % OFTEN == 0 {
                place.clean().await
            } else {
                place.at_rest().await
            };
            if let Err(wrong) = rest {
                return Some(wrong);
            }
        }
        None
    }
}

/// The smallest tree that can be found from `tree` on which something is wrong, and what.
///
/// Each failure gets new databases: what it has left behind must not disturb the next tree.
async fn shrunk<A: Backend, B: Backend>(tree: Tree, wrong: String) -> (Tree, String) {
    let (mut smallest, mut wrong) = (tree, wrong);
    let mut attempts = 0;
    'smaller: loop {
        let lane = Lane::new::<A, B>().await.expect("it was there before");
        for tree in shrink::smaller(&smallest) {
            attempts += 1;
            if attempts > ATTEMPTS {
                break 'smaller;
            }
            if let Some(still) = lane.check(&tree).await {
                (smallest, wrong) = (tree, still);
                continue 'smaller;
            }
        }
        break;
    }
    (smallest, wrong)
}

/// Runs trees on databases of the kinds `A` and `B`.
///
/// # Panics
///
/// With the first tree on which the model and the databases differ.
async fn agree<A: Backend, B: Backend>(trees: u64, lane_count: usize) {
    let started = Instant::now();
    let seed = Dice::wished_seed();
    let trees = wish("TX_TEST_TREES").unwrap_or(trees);
    let mut lanes = Vec::new();
    for _ in 0..lane_count {
        let Some(lane) = Lane::new::<A, B>().await else {
            return;
        };
        lanes.push(lane);
    }
    let next = Cell::new(0);
    let disagreement = RefCell::new(None);
    let work = lanes.iter().map(async |lane| {
        while next.get() < trees && disagreement.borrow().is_none() {
            let seed = seed.wrapping_add(next.replace(next.get() + 1));
            let tree = grow::grow(seed, lane.engines);
            if let Some(wrong) = lane.check(&tree).await {
                // The other lanes may still find one of their own.
                disagreement.borrow_mut().get_or_insert((seed, wrong));
            }
        }
    });
    join_all(work).await;
    let found = disagreement.take();
    let line = format!(
        "model: {} trees on {} and {}, from seed {seed}, {:.1?}: {}\n",
        next.get(),
        A::LABEL,
        B::LABEL,
        started.elapsed(),
        found
            .as_ref()
            .map_or("all as predicted".to_owned(), |(seed, wrong)| format!(
                "tree {seed}:\n{wrong}"
            )),
    );
    // Past the capture of the test runner: the seed is half the purpose.
    drop(std::io::stderr().write_all(line.as_bytes()));
    let engines = lanes[0].engines;
    // Smaller trees need their connections.
    drop(lanes);
    if let Some((seed, wrong)) = found {
        report::<A, B>(grow::grow(seed, engines), seed, wrong).await;
    }
}

async fn report<A: Backend, B: Backend>(tree: Tree, seed: u64, wrong: String) -> ! {
    let (smallest, now_wrong) = shrunk::<A, B>(tree.clone(), wrong.clone()).await;
    panic!(
        "TX_TEST_SEED={seed} on {} and {}:\n{wrong}\nthe smallest that was found:\n\n{smallest}\n\
         {now_wrong}\nthe whole:\n\n{tree}",
        A::LABEL,
        B::LABEL,
    );
}

fn on_one_thread(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}

macro_rules! agreements {
    ($($test:ident: $left:ty, $right:ty, $trees:expr, $lanes:expr;)+) => {
        $(#[test]
        fn $test() {
            on_one_thread(agree::<$left, $right>($trees, $lanes));
        })+
    };
}

agreements! {
    sqlite: Sqlite, Sqlite, TREES, LANES;
    postgres: Postgres, Postgres, TREES, LANES;
    mysql: MySql, MySql, TREES, LANES;
    sqlite_beside_postgres: Sqlite, Postgres, MIXED_TREES, MIXED_LANES;
    mysql_beside_sqlite: MySql, Sqlite, MIXED_TREES, MIXED_LANES;
}
