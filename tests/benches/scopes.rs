//! Wall time of scopes beside the same work in hand-written sqlx, in one run.
//!
//! `cargo bench -p tx-tests --bench scopes`. Every scenario has a `hand` and an `ours`, on each
//! database; read them as ratios, since absolute times are the machine's. `hand` is a pool
//! with sqlx's defaults, `ours` one that `Db::connect_with` made.

use std::sync::LazyLock;

use divan::Bencher;
use sqlx::pool::PoolOptions;
use sqlx::{Acquire, MySql, Pool, Postgres, Sqlite};
use tokio::runtime::Runtime;
use tx_runtime::{Db, Error, Propagation, TransactionOptions};
use tx_tests::{Backend, Bed};

fn main() {
    divan::main();
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime starts"));

const STATEMENT: &str = "select v from t where id = 1";
const POOL: u32 = 4;

/// The two sides, over one scratch database.
struct Sides<B: Backend> {
    bed: Bed<B>,
    hand: Pool<B>,
}

fn bench<B: Backend>(bencher: Bencher<'_, '_>, scenario: &impl AsyncFn(&Sides<B>)) {
    let sides = RUNTIME.block_on(async {
        let bed = Bed::<B>::connected(POOL).await?;
        let hand = PoolOptions::new()
            .max_connections(POOL)
            .connect_lazy_with(bed.options().clone());
        Some(Sides { bed, hand })
    });
    let Some(sides) = sides else { return };
    bencher.bench_local(|| RUNTIME.block_on(scenario(&sides)));
    RUNTIME.block_on(async {
        sides.hand.close().await;
        sides.bed.finish().await;
    });
}

async fn ours<B: Backend>(db: &Db<B>) -> Result<(), Error> {
    B::ints(db, STATEMENT).await?;
    Ok(())
}

fn mode(propagation: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(propagation)
}

macro_rules! scenario {
    ($name:ident on [$($database:ident),+], hand: $hand:expr, ours: $ours:expr) => {
        mod $name {
            use super::*;

            #[divan::bench(types = [$($database),+])]
            fn hand<B: Backend>(bencher: Bencher<'_, '_>) {
                bench::<B>(bencher, &async |sides| {
                    let run: Result<(), sqlx::Error> = $hand(&sides.hand).await;
                    run.expect("the hand-written side runs");
                });
            }

            #[divan::bench(types = [$($database),+])]
            fn ours<B: Backend>(bencher: Bencher<'_, '_>) {
                bench::<B>(bencher, &async |sides| {
                    let run: Result<(), Error> = $ours(&sides.bed.db).await;
                    run.expect("our side runs");
                });
            }
        }
    };
}

async fn by_hand<B: Backend>(pool: &Pool<B>, statements: usize) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    for _ in 0..statements {
        B::ints(B::on(&mut tx), STATEMENT).await?;
    }
    tx.commit().await
}

scenario!(empty_scope on [Sqlite, Postgres, MySql],
    hand: async |pool: &Pool<B>| by_hand(pool, 0).await,
    ours: async |db: &Db<B>| db.transaction(async || Ok(())).await);

scenario!(one_statement on [Sqlite, Postgres, MySql],
    hand: async |pool: &Pool<B>| by_hand(pool, 1).await,
    ours: async |db: &Db<B>| db.transaction(async || super::ours(db).await).await);

scenario!(three_statements on [Sqlite, Postgres, MySql],
    hand: async |pool: &Pool<B>| by_hand(pool, 3).await,
    ours: async |db: &Db<B>| db.transaction(async || {
        for _ in 0..3 { super::ours(db).await?; }
        Ok(())
    }).await);

scenario!(three_joined_scopes on [Sqlite, Postgres, MySql],
    hand: async |pool: &Pool<B>| by_hand(pool, 3).await,
    ours: async |db: &Db<B>| db.transaction(async || {
        super::ours(db).await?;
        db.transaction(async || {
            super::ours(db).await?;
            db.transaction(async || super::ours(db).await).await
        }).await
    }).await);

scenario!(nested on [Sqlite, Postgres, MySql],
    hand: async |pool: &Pool<B>| {
        let mut tx = pool.begin().await?;
        B::ints(B::on(&mut tx), STATEMENT).await?;
        let mut savepoint = tx.begin().await?;
        B::ints(B::on(&mut savepoint), STATEMENT).await?;
        savepoint.commit().await?;
        tx.commit().await
    },
    ours: async |db: &Db<B>| db.transaction(async || {
        super::ours(db).await?;
        db.transaction_with(mode(Propagation::Nested), async || super::ours(db).await).await
    }).await);

// SQLite has one writer, so there is no second transaction inside the first.
scenario!(requires_new on [Postgres, MySql],
    hand: async |pool: &Pool<B>| {
        let mut tx = pool.begin().await?;
        B::ints(B::on(&mut tx), STATEMENT).await?;
        by_hand(pool, 1).await?;
        tx.commit().await
    },
    ours: async |db: &Db<B>| db.transaction(async || {
        super::ours(db).await?;
        db.transaction_with(mode(Propagation::RequiresNew), async || super::ours(db).await).await
    }).await);
