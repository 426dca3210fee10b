//! What a scope costs beside the same work in hand-written sqlx: round trips, read from the
//! wire, and allocations; and that saving the ping before BEGIN costs nothing when the
//! connection has died.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::{Connection as _, MySql, Pool, Postgres, Sqlite, Transaction};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};
use tx_runtime::{Db, Error, Isolation, LocalLocks, Lock, Propagation, TransactionOptions};
use tx_tests::{Backend, Bed, Proxy, Shape, case};

/// How long a connection may take to come back, or a killed one to be gone.
const PATIENCE: Duration = Duration::from_mins(1);

/// Shows a table past the capture of the test runner: the numbers are half the purpose.
fn show(table: &str) {
    drop(write!(std::io::stderr(), "{table}"));
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !holds().await {
            sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(PATIENCE, holds).await.is_ok(), "in vain: {what}");
}

async fn all_back<B: Backend>(pool: &Pool<B>) {
    until("every connection is back", async || {
        pool.size() as usize == pool.num_idle()
    })
    .await;
}

// ----- round trips ---------------------------------------------------------------------

const SELECT: &str = "select count(*) from t";
const UPDATE: &str = "update t set v = 'x' where id = 1";

/// Both sides on one server behind one proxy.
struct Sides<B: Backend> {
    bed: Bed<B>,
    proxy: Proxy,
    /// What `Db::connect_with` makes.
    db: Db<B>,
    /// What sqlx makes by default.
    hand: Pool<B>,
    table: String,
}

impl<B: Backend> Sides<B> {
    async fn new() -> Option<Self> {
        let (bed, proxy) = Bed::<B>::proxied(2, Shape::WHOLE).await?;
        bed.control("insert into t (id) values (1)").await;
        let options = bed.db.pool().connect_options();
        let pool = || PoolOptions::new().max_connections(2);
        let db = Db::connect_with(pool(), options.as_ref().clone());
        let db = db.await.expect("the server can be reached");
        let hand = pool().connect_lazy_with(options.as_ref().clone());
        Some(Self {
            bed,
            proxy,
            db,
            hand,
            table: format!("cost: round trips on {}\n", B::LABEL),
        })
    }

    /// What each side runs on.
    fn both(&self) -> (Db<B>, Pool<B>) {
        (self.db.clone(), self.hand.clone())
    }

    /// The round trips of `work` to the return of its connections, once they are warm.
    async fn count(&self, pool: &Pool<B>, work: impl AsyncFn() -> Result<(), Error>) -> usize {
        // The connections take turns, and each prepares for itself.
        for _ in 0..4 {
            work().await.expect("the work succeeds");
            all_back(pool).await;
        }
        self.proxy.clear();
        work().await.expect("the work succeeds");
        all_back(pool).await;
        self.proxy.round_trips()
    }

    /// What a scope needs and what the same work by hand does.
    async fn compare(
        &mut self,
        what: &str,
        ours: impl AsyncFn() -> Result<(), Error>,
        hand: impl AsyncFn() -> Result<(), Error>,
    ) -> (usize, usize) {
        let ours = self.count(self.db.pool(), ours).await;
        let hand = self.count(&self.hand, hand).await;
        writeln!(self.table, "  {what:<22} ours {ours:>2}  by hand {hand:>2}")
            .expect("a String takes every write");
        (ours, hand)
    }
}

async fn select<B: Backend>(db: &Db<B>) -> Result<(), Error> {
    Ok(B::int(db, SELECT).await.map(drop)?)
}

async fn update<B: Backend>(db: &Db<B>) -> Result<(), Error> {
    Ok(B::exec(db, UPDATE).await.map(drop)?)
}

/// A joined scope with a statement, and another inside it, `depth` deep.
async fn joined<B: Backend>(db: &Db<B>, depth: usize) -> Result<(), Error> {
    db.transaction(async || {
        select(db).await?;
        if depth > 1 {
            Box::pin(joined(db, depth - 1)).await?;
        }
        Ok(())
    })
    .await
}

/// sqlx's own `begin`, in functions that return our error.
async fn begin<B: Backend>(pool: &Pool<B>) -> Result<Transaction<'static, B>, Error> {
    Ok(pool.begin().await?)
}

async fn one_scope<B: Backend>(sides: &mut Sides<B>) {
    let (db, pool) = sides.both();
    let ours = async || {
        let scope = db.transaction(async || {
            select(&db).await?;
            update(&db).await
        });
        scope.await
    };
    let hand = async || {
        let mut transaction = begin(&pool).await?;
        B::int(B::on(&mut transaction), SELECT).await?;
        B::exec(B::on(&mut transaction), UPDATE).await?;
        Ok(transaction.commit().await?)
    };
    let (ours, hand) = sides.compare("SELECT and UPDATE", ours, hand).await;
    assert!(
        ours <= 5,
        "BEGIN, two statements, COMMIT, the pool's ping: {ours}"
    );
    assert_eq!(hand, 6, "and a ping before");
}

async fn no_statement<B: Backend>(sides: &mut Sides<B>) {
    let (db, pool) = sides.both();
    let ours = async || db.transaction(async || Ok(())).await;
    let hand = async || Ok(begin(&pool).await?.commit().await?);
    let (ours, _) = sides.compare("no statement", ours, hand).await;
    assert_eq!(ours, 0);
}

async fn rolled_back<B: Backend>(sides: &mut Sides<B>) {
    let (db, pool) = sides.both();
    let ours = async || {
        let failed = db.transaction(async || {
            update(&db).await?;
            Err::<(), _>(Error::from(sqlx::Error::RowNotFound))
        });
        failed.await.expect_err("it fails");
        Ok(())
    };
    let hand = async || {
        let mut transaction = begin(&pool).await?;
        B::exec(B::on(&mut transaction), UPDATE).await?;
        Ok(transaction.rollback().await?)
    };
    let (ours, hand) = sides.compare("UPDATE, rolled back", ours, hand).await;
    assert!(ours <= hand);
}

async fn nested<B: Backend>(sides: &mut Sides<B>) {
    let (db, pool) = sides.both();
    let ours = async || {
        let scope = db.transaction(async || {
            select(&db).await?;
            db.savepoint(async || update(&db).await).await
        });
        scope.await
    };
    let hand = async || {
        let mut outer = begin(&pool).await?;
        B::int(B::on(&mut outer), SELECT).await?;
        let mut inner = outer.begin().await?;
        B::exec(B::on(&mut inner), UPDATE).await?;
        inner.commit().await?;
        Ok(outer.commit().await?)
    };
    let (ours, hand) = sides.compare("Nested", ours, hand).await;
    assert!(ours <= hand);
}

async fn nested_without_statement<B: Backend>(sides: &mut Sides<B>) {
    let (db, pool) = sides.both();
    let ours = async || {
        let scope = db.transaction(async || {
            select(&db).await?;
            db.savepoint(async || Ok::<_, Error>(())).await
        });
        scope.await
    };
    let hand = async || {
        let mut outer = begin(&pool).await?;
        B::int(B::on(&mut outer), SELECT).await?;
        outer.begin().await?.commit().await?;
        Ok(outer.commit().await?)
    };
    let (ours, _) = sides.compare("Nested, no statement", ours, hand).await;
    assert!(ours <= 4, "BEGIN, a statement, COMMIT, ping: {ours}");
}

async fn requires_new<B: Backend>(sides: &mut Sides<B>) {
    let (db, pool) = sides.both();
    let new = TransactionOptions::new().propagation(Propagation::RequiresNew);
    let ours = async || {
        let scope = db.transaction(async || {
            select(&db).await?;
            db.transaction_with(new.clone(), async || select(&db).await)
                .await
        });
        scope.await
    };
    let hand = async || {
        let mut outer = begin(&pool).await?;
        B::int(B::on(&mut outer), SELECT).await?;
        let mut inner = begin(&pool).await?;
        B::int(B::on(&mut inner), SELECT).await?;
        inner.commit().await?;
        Ok(outer.commit().await?)
    };
    let (ours, hand) = sides.compare("RequiresNew", ours, hand).await;
    assert!(ours <= hand);
}

async fn three_joined<B: Backend>(sides: &mut Sides<B>) {
    let (db, pool) = sides.both();
    let ours = async || joined(&db, 3).await;
    let hand = async || {
        let mut transaction = begin(&pool).await?;
        for _ in 0..3 {
            B::int(B::on(&mut transaction), SELECT).await?;
        }
        Ok(transaction.commit().await?)
    };
    let (ours, hand) = sides.compare("three joined scopes", ours, hand).await;
    assert!(ours <= 6, "BEGIN, three statements, COMMIT, ping: {ours}");
    assert!(ours <= hand);
}

/// One statement, without a lock and under one in every form.
async fn under_locks<B: Backend>(sides: &mut Sides<B>) {
    let (db, pool) = sides.both();
    let new = TransactionOptions::new().propagation(Propagation::RequiresNew);
    let isolated = TransactionOptions::new().propagation(Propagation::Isolated);
    let work = async || update(&db).await;
    let unlocked = sides
        .count(&pool_of(&db), async || {
            db.transaction_with(new.clone(), work).await
        })
        .await;
    let local = LocalLocks::new();
    let in_process = || Lock::key("k").on(&local);
    let repeatable = isolated.clone().isolation(Isolation::RepeatableRead);
    let joined = TransactionOptions::new().propagation(Propagation::Mandatory);
    let read_committed = TransactionOptions::new().isolation(Isolation::ReadCommitted);

    let own = async || db.transaction_with(isolated.clone().lock("k"), work).await;
    let own = sides.count(&pool_of(&db), own).await;
    let in_process = async || {
        db.transaction_with(isolated.clone().lock(in_process()), work)
            .await
    };
    let in_process = sides.count(&pool_of(&db), in_process).await;
    let repeatable = async || {
        db.transaction_with(repeatable.clone().lock("k"), work)
            .await
    };
    let repeatable = sides.count(&pool_of(&db), repeatable).await;
    let around = async || db.locked("k", async || db.transaction(work).await).await;
    let around = sides.count(&pool_of(&db), around).await;
    let late = async || {
        let outer = async || {
            update(&db).await?;
            db.transaction_with(joined.clone().lock("k"), work).await
        };
        db.transaction_with(read_committed.clone(), outer).await
    };
    let late = sides.count(&pool_of(&db), late).await;
    let hand = async || {
        let mut transaction = begin(&pool).await?;
        let name = B::lock_name("k");
        B::raw(B::on(&mut transaction), &B::take_lock(&name)).await?;
        B::exec(B::on(&mut transaction), UPDATE).await?;
        // Before COMMIT: on the connection of a transaction there is no other moment.
        B::raw(B::on(&mut transaction), &B::open_lock(&name)).await?;
        Ok(transaction.commit().await?)
    };
    let hand = sides.count(&pool, hand).await;
    for (what, trips) in [
        ("unlocked", unlocked),
        ("lock in the process", in_process),
        ("lock of the server", own),
        ("the same, RR", repeatable),
        ("lock around", around),
        ("late, two statements", late),
        ("by hand, in between", hand),
    ] {
        writeln!(sides.table, "  {what:<22} {trips:>2}").expect("a String takes every write");
    }
    assert_eq!(in_process, unlocked, "a lock in the process");
    assert_eq!(own, unlocked, "a lock of the server");
}

fn pool_of<B: Backend>(db: &Db<B>) -> Pool<B> {
    db.pool().clone()
}

async fn round_trips<B: Backend>() {
    let Some(mut sides) = Sides::<B>::new().await else {
        return;
    };
    no_statement(&mut sides).await;
    one_scope(&mut sides).await;
    rolled_back(&mut sides).await;
    three_joined(&mut sides).await;
    nested(&mut sides).await;
    nested_without_statement(&mut sides).await;
    requires_new(&mut sides).await;
    under_locks(&mut sides).await;
    show(&sides.table);
    sides.bed.assert_clean().await;
}

fn on_threads(test: impl Future<Output = ()>) {
    Runtime::new().expect("a runtime").block_on(test);
}

#[test]
fn round_trips_on_postgres() {
    on_threads(round_trips::<Postgres>());
}

#[test]
fn round_trips_on_mysql() {
    on_threads(round_trips::<MySql>());
}

// ----- allocations ---------------------------------------------------------------------

/// How often each figure is measured; the lowest counts. A call that has to wait for SQLite's
/// worker thread allocates in order to wait, and how often that happens is chance.
const RUNS: usize = 41;

/// What a scope with one statement may allocate beyond the same by hand.
const SCOPE_LIMIT: i64 = 4;

/// What a transaction of PostgreSQL that may write allocates on top of that: the driver's own for
/// a row of one column, by which a lost COMMIT can be looked up.
const RECEIPT: i64 = 7;

/// The calls whose further statements must cost nothing beyond the driver's own.
const FREE: [&str; 3] = ["execute", "fetch_one", "fetch_all"];

/// Runs `work` on this thread and gives how often it allocated there.
///
/// What follows it, such as the connection's way back to the pool, is not counted but waited
/// for.
fn allocations<B: Backend>(
    runtime: &Runtime,
    pool: &Pool<B>,
    work: impl AsyncFn() -> Result<(), Error>,
) -> i64 {
    let lowest = (0..RUNS)
        .map(|_| {
            let info = allocation_counter::measure(|| {
                runtime.block_on(work()).expect("the work succeeds");
            });
            runtime.block_on(all_back(pool));
            info.count_total
        })
        .min();
    i64::try_from(lowest.unwrap_or_default()).expect("not that many")
}

/// A kind of call: what it allocates in a scope and by hand, with one statement and with five.
struct Figures {
    call: &'static str,
    ours: [i64; 2],
    hand: [i64; 2],
}

impl Figures {
    /// What the scope costs, with its one statement.
    fn scope(&self) -> i64 {
        self.ours[0] - self.hand[0]
    }

    /// What four more statements cost.
    fn further(&self) -> i64 {
        self.ours[1] - self.hand[1] - self.scope()
    }
}

/// The statements of one kind of call, through `&db` and through the driver's connection.
macro_rules! figures {
    ($runtime:expr, $db:expr, $call:literal, |$executor:ident| $statement:expr) => {{
        let (runtime, db) = ($runtime, $db);
        let [ours, hand] = [true, false].map(|scope| {
            [1, 5].map(|statements| {
                let ours = async || {
                    db.transaction(async || {
                        for _ in 0..statements {
                            let $executor = db;
                            let _ = $statement.await?;
                        }
                        Ok(())
                    })
                    .await
                };
                let hand = async || {
                    let mut transaction = db.pool().begin().await?;
                    for _ in 0..statements {
                        let $executor = &mut *transaction;
                        let _ = $statement.await?;
                    }
                    Ok(transaction.commit().await?)
                };
                if scope {
                    allocations(runtime, db.pool(), ours)
                } else {
                    allocations(runtime, db.pool(), hand)
                }
            })
        });
        let call = $call;
        Figures { call, ours, hand }
    }};
}

macro_rules! allocation_tests {
    ($($test:ident: $driver:ty, $insert:literal, $select:literal;)+) => {
        $(#[test]
        fn $test() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let Some(bed) = runtime.block_on(Bed::<$driver>::connected(1)) else {
                return;
            };
            runtime.block_on(bed.control("insert into t (id, v) values (1, 'x')"));
            let (runtime, db) = (&runtime, &bed.db);
            let figures = [
                figures!(runtime, db, "execute", |to| {
                    sqlx::query($insert).bind("y").bind(1_i64).execute(to)
                }),
                figures!(runtime, db, "fetch_one", |to| {
                    sqlx::query($select).bind(1_i64).fetch_one(to)
                }),
                figures!(runtime, db, "fetch_all", |to| {
                    sqlx::query($select).bind(1_i64).fetch_all(to)
                }),
                figures!(runtime, db, "query_scalar fetch_one", |to| {
                    sqlx::query_scalar::<_, i64>($select).bind(1_i64).fetch_one(to)
                }),
                figures!(runtime, db, "query_scalar fetch_all", |to| {
                    sqlx::query_scalar::<_, i64>($select).bind(1_i64).fetch_all(to)
                }),
            ];
            judge(<$driver>::LABEL, <$driver>::TELLS_FATES, &figures);
            runtime.block_on(bed.assert_clean());
        })+
    };
}

allocation_tests! {
    allocations_on_sqlite: Sqlite, "update t set v = ?1 where id = ?2", "select id from t where id = ?1";
    allocations_on_postgres: Postgres, "update t set v = $1 where id = $2", "select id from t where id = $1";
    allocations_on_mysql: MySql, "update t set v = ? where id = ?", "select id from t where id = ?";
}

/// `tells_fates`: BEGIN brings the transaction's number.
fn judge(label: &str, tells_fates: bool, figures: &[Figures]) {
    let mut table = format!("cost: allocations on {label}, of one statement and of five\n");
    for figure in figures {
        let Figures { call, ours, hand } = figure;
        writeln!(
            table,
            "  {call:<24} ours {:>3} {:>4}  by hand {:>3} {:>4}  scope {:+}, four statements {:+}",
            ours[0],
            ours[1],
            hand[0],
            hand[1],
            figure.scope(),
            figure.further()
        )
        .expect("a String takes every write");
    }
    show(&table);
    let execute = &figures[0];
    let limit = SCOPE_LIMIT + if tells_fates { RECEIPT } else { 0 };
    assert!(execute.scope() <= limit, "a scope allocates too much");
    for figure in figures.iter().filter(|figure| FREE.contains(&figure.call)) {
        assert!(
            figure.further() <= 0,
            "{}: each statement allocates",
            figure.call
        );
    }
}

// ----- a connection that died while nobody looked --------------------------------------

case! {
    dead_idle_connection on postgres, mysql; bed = Bed::<B>::connected(1);
    "a connection that died in the pool is replaced before anybody notices";
    async fn<B>(bed) {
        // The evil: sqlx without its ping hands the dead connection out.
        let hand = PoolOptions::<B>::new()
            .max_connections(1)
            .test_before_acquire(false)
            .connect_lazy_with(bed.options().clone());
        let pid = B::int(B::pool(&hand), B::PID).await.unwrap();
        kill_idle(bed, &hand, pid).await;
        let mut connection = hand.acquire().await.unwrap();
        B::raw(B::on(&mut connection), "BEGIN").await.unwrap_err();
        drop(connection);
        hand.close().await;

        let scope = async |id| {
            let scope = bed.db.transaction(async || {
                bed.insert(id).await?;
                Ok::<_, Error>(bed.pid().await?)
            });
            scope.await.unwrap()
        };
        let first = scope(1).await;
        kill_idle(bed, bed.db.pool(), first).await;
        let second = scope(2).await;
        assert_ne!(first, second);
        assert_eq!(bed.rows().await, [1, 2]);
    }
}

/// Ends the pool's only connection from the server's side and waits until it is gone there.
async fn kill_idle<B: Backend>(bed: &Bed<B>, pool: &Pool<B>, pid: i64) {
    all_back(pool).await;
    bed.kill(pid).await;
    until("the connection is gone", async || {
        let view = bed.server_view().await;
        !view
            .lines()
            .any(|line| line.starts_with(&format!("{pid} ")))
    })
    .await;
}
