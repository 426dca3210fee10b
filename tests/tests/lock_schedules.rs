//! Thousands of random schedules under locks, judged by what the database itself has seen.
//!
//! Workers of two processes (two `Db`s with pools of their own) take the same locks in every
//! form, and are dropped, fail and panic on the way, while the wire delays messages
//! by chance. Under its lock each worker changes a counter's row in its transaction. If a lock
//! ever opens before a transaction that ran under it has ended, the next one meets that
//! transaction's row lock, reads a number that is about to change, or stores the same number
//! twice: the server says so, not the test. Two ways to get it wrong are run through the same
//! checks and must fail them.
//!
//! `TX_TEST_SEED` begins with the schedule of that seed, `TX_TEST_SCHEDULES` says how many are
//! run. What a seed brings back are the plans; the order in which they meet is the machine's.

use std::collections::HashMap;
use std::fmt;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use sqlx::error::DatabaseError;
use sqlx::pool::PoolOptions;
use sqlx::{MySql, Pool, Postgres, Sqlite, Transaction};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tx_runtime::{
    Db, Error, Isolation, LocalLocks, Lock, Propagation, RedisLocks, TransactionOptions,
};
use tx_tests::{Backend, Bed, Dice, Proxy, RedisServer, Shape, poll_n, wish};

/// How many schedules every provider runs on every database.
const SCHEDULES: u64 = 2_000;

/// How many run at once; each has counters and locks of its own.
const LANES: u64 = 10;

/// How many workers meet in one schedule.
const WORKERS: usize = 3;

/// The longest delay of a message, or of a step.
const LATE: Duration = Duration::from_millis(2);

/// How long a schedule may take; nothing in it waits for long.
const PATIENCE: Duration = Duration::from_mins(2);

/// The same for plain sqlx, much of which waits without end.
const PLAIN_PATIENCE: Duration = Duration::from_secs(30);

/// How long plain sqlx has to leave its pool in order, which it may have wedged for good.
const PLAIN_SETTLING: Duration = Duration::from_secs(5);

/// What a transaction has still to do when its lock has opened too early.
const AFTERWARDS: Duration = Duration::from_millis(20);

const POOL: u32 = 12;

const TABLES: &str = "
    create table counter (id bigint primary key, v bigint not null);
    create table entry (counter bigint not null, seen bigint not null);
    create index entry_counter on entry (counter)";

// ----- plans ---------------------------------------------------------------------------

/// How a worker has its lock and its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A transaction that begins under its lock.
    Begun,
    /// A lock around a transaction, and then another one.
    Around,
    /// A lock in a variable, and a transaction in another.
    Variable,
    /// A transaction of its own inside another.
    Isolated,
    /// A part of a transaction that has not begun, and of one that has.
    Joined,
    JoinedLate,
    /// A savepoint under a lock, kept or rolled back; and a lock inside a savepoint.
    Nested,
    InsideNested,
    /// A lock around a part of a transaction.
    AroundJoined,
    /// A lock taken once more by what runs under it, on a second connection.
    Again,
}

const FORMS: [Form; 10] = [
    Form::Begun,
    Form::Around,
    Form::Variable,
    Form::Isolated,
    Form::Joined,
    Form::JoinedLate,
    Form::Nested,
    Form::InsideNested,
    Form::AroundJoined,
    Form::Again,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ok,
    Err,
    Panic,
}

#[derive(Clone, Debug)]
struct Plan {
    form: Form,
    /// Which of the schedule's two counters, and so which locks; sorted.
    counters: Vec<i64>,
    end: End,
    /// Dropped when it is pending for this many times, if it ever is.
    dropped_at: Option<usize>,
    /// In which of the processes it runs.
    process: usize,
    /// A row of its own, for what is done without a lock.
    row: i64,
    dice: Dice,
}

impl Plan {
    fn roll(dice: &mut Dice, first_counter: i64, row: i64) -> Self {
        let both = [first_counter, first_counter + 1];
        let counters = match dice.roll(4) {
            0 => both.to_vec(),
            1 => vec![both[1]],
            _ => vec![both[0]],
        };
        let dropped_at = (dice.roll(2) == 0).then(|| 1 + dice.roll(30));
        Self {
            form: dice.one_of(&FORMS),
            counters,
            end: dice.one_of(&[End::Ok, End::Ok, End::Ok, End::Err, End::Panic]),
            dropped_at: dropped_at.map(|polls| usize::try_from(polls).expect("few")),
            process: usize::try_from(dice.roll(2)).expect("two"),
            row,
            dice: Dice::new(dice.roll(u64::MAX)),
        }
    }
}

// ----- the two processes, and what watches them ----------------------------------------------

/// Who keeps the locks.
#[derive(Clone, Debug)]
enum Keeper {
    Local(LocalLocks),
    Database,
    /// A handle for each process.
    Redis([RedisLocks; 2]),
    /// Broken: each process has its own.
    Apart([LocalLocks; 2]),
    /// Broken: guards of mutexes in plain sqlx, dropped `before` COMMIT or, as it is mostly
    /// written, after it; but then with the future that waits for COMMIT.
    Guards {
        mutexes: Mutexes,
        before: bool,
    },
}

/// A mutex for each counter.
type Mutexes = Arc<Mutex<HashMap<i64, Arc<tokio::sync::Mutex<()>>>>>;

struct World<B: Backend> {
    bed: Bed<B>,
    /// Of the second process.
    other: Db<B>,
    /// Of nobody: for looks at what is stored.
    looking: Pool<B>,
    _proxy: Option<Proxy>,
    keeper: Keeper,
    violations: Mutex<Vec<String>>,
    /// How many workers ended well, were dropped, failed as planned, were refused a lock.
    well: AtomicUsize,
    dropped: AtomicUsize,
    failed: AtomicUsize,
    refused: AtomicUsize,
}

impl<B: Backend> World<B> {
    async fn new(keeper: Keeper, seed: u64) -> Option<Self> {
        let (bed, proxy) = if B::SERVER {
            let (bed, proxy) = Bed::<B>::proxied(POOL, Shape::late(seed, LATE)).await?;
            (bed, Some(proxy))
        } else {
            (Bed::with_pool(POOL).await?, None)
        };
        let bed = match keeper {
            Keeper::Guards { .. } => bed.settling_within(PLAIN_SETTLING),
            _ => bed,
        };
        if B::LABEL == "postgres" {
            // Nothing here is about power cuts.
            let name = bed.control_texts("select current_database()::text").await;
            let sql = format!("alter database {} set synchronous_commit = off", name[0]);
            bed.control(&sql).await;
        }
        for table in TABLES.split(';') {
            bed.control(table).await;
        }
        if matches!(keeper, Keeper::Redis(_)) {
            bed.control(Db::<B>::fence_table()).await;
        }
        let pool = bed.db.pool();
        let (options, connect) = (pool.options().clone(), pool.connect_options());
        let other = Db::new(options.connect_lazy_with(connect.as_ref().clone()));
        let looking = PoolOptions::new().max_connections(POOL / 2);
        let looking = looking.connect_lazy_with(bed.options().clone());
        Some(Self {
            bed,
            other,
            looking,
            _proxy: proxy,
            keeper,
            violations: Mutex::default(),
            well: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        })
    }

    fn db(&self, plan: &Plan) -> &Db<B> {
        [&self.bed.db, &self.other][plan.process]
    }

    /// How long anything may take.
    fn patience(&self) -> Duration {
        match self.keeper {
            Keeper::Guards { .. } => PLAIN_PATIENCE,
            _ => PATIENCE,
        }
    }

    fn lock(&self, plan: &Plan) -> Lock {
        let keys = plan.counters.iter().map(|counter| key(*counter));
        let lock = Lock::keys(keys).wait(self.patience());
        match &self.keeper {
            Keeper::Local(local) => lock.on(local),
            Keeper::Apart(locals) => lock.on(&locals[plan.process]),
            Keeper::Redis(handles) => lock.on(&handles[plan.process]),
            Keeper::Database | Keeper::Guards { .. } => lock,
        }
    }

    /// Whether it was broken on purpose, and there is proof.
    fn is_found_out(&self) -> bool {
        let broken = matches!(self.keeper, Keeper::Apart(_) | Keeper::Guards { .. });
        broken && self.violations().iter().any(|it| is_proof(it))
    }

    fn violations(&self) -> MutexGuard<'_, Vec<String>> {
        self.violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn accuse(&self, what: impl fmt::Display) {
        self.violations().push(what.to_string());
    }
}

fn key(counter: i64) -> String {
    format!("counter {counter}")
}

// ----- the work under a lock ---------------------------------------------------------------

/// Where statements run.
enum Place<'a, B: Backend> {
    Scope(&'a Db<B>),
    Plain(&'a mut Transaction<'static, B>),
}

impl<B: Backend> Place<'_, B> {
    async fn int(&mut self, sql: &str) -> Result<i64, sqlx::Error> {
        match self {
            Self::Scope(db) => B::int(*db, sql).await,
            Self::Plain(transaction) => B::int(B::on(transaction), sql).await,
        }
    }

    /// Unprepared: none of these comes twice.
    async fn exec(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        match self {
            Self::Scope(db) => B::raw(*db, sql).await.map(drop),
            Self::Plain(transaction) => B::raw(B::on(transaction), sql).await.map(drop),
        }
    }
}

/// Time for others to do harm: none, a moment, or more.
async fn dally(dice: &mut Dice) {
    match dice.roll(4) {
        0 => sleep(Duration::from_micros(dice.roll(2_000))).await,
        1 => tokio::task::yield_now().await,
        _ => {}
    }
}

/// What is read without a transaction, as the last thing before one begins.
async fn look<B: Backend>(world: &World<B>, plan: &Plan) -> Result<Vec<i64>, Error> {
    let mut seen = Vec::new();
    for counter in &plan.counters {
        let sql = format!("select v from counter where id = {counter}");
        seen.push(B::int(B::pool(&world.looking), &sql).await?);
    }
    Ok(seen)
}

/// Adds one to every counter of the plan, and complains if anybody else is at it.
///
/// `looked`: what was read under the lock before the transaction began.
async fn add<B: Backend>(
    world: &World<B>,
    plan: &Plan,
    mut place: Place<'_, B>,
    looked: &[i64],
) -> Result<(), Error> {
    let mut dice = plan.dice.clone();
    for (counter, looked) in plan.counters.iter().zip(looked) {
        let select = format!("select v from counter where id = {counter}");
        let read = place.int(&select).await?;
        if read != *looked {
            world.accuse(format_args!(
                "counter {counter} was {looked} under the lock, and {read} in the transaction: {plan:?}"
            ));
        }
        dally(&mut dice).await;
        if B::SERVER {
            let locking = place.int(&format!("{select} for update nowait")).await;
            match &locking {
                Err(error) if is_row_lock(error) => world.accuse(format_args!(
                    "a transaction with counter {counter} has not ended: {plan:?}"
                )),
                Ok(now) if *now != read => world.accuse(format_args!(
                    "counter {counter} is {now}, and {read} was read: {plan:?}"
                )),
                _ => {}
            }
            locking?;
        }
        dally(&mut dice).await;
        let update = format!("update counter set v = {} where id = {counter}", looked + 1);
        place.exec(&update).await?;
        let insert = format!("insert into entry (counter, seen) values ({counter}, {looked})");
        place.exec(&insert).await?;
        dally(&mut dice).await;
    }
    match plan.end {
        End::Ok => Ok(()),
        End::Err => Err(on_purpose()),
        // Without the message that a real panic prints, a thousand times.
        End::Panic => std::panic::resume_unwind(Box::new("planned")),
    }
}

fn is_row_lock(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    let message = error.to_string();
    code.as_deref() == Some("55P03") || message.contains("1205") || message.contains("3572")
}

fn on_purpose() -> Error {
    Error::Database(sqlx::Error::Protocol("on purpose".to_owned()))
}

fn is_on_purpose(error: &Error) -> bool {
    matches!(error, Error::Database(sqlx::Error::Protocol(text)) if text == "on purpose")
}

fn mode(propagation: Propagation) -> TransactionOptions {
    TransactionOptions::new().propagation(propagation)
}

async fn work<B: Backend>(world: &World<B>, plan: &Plan) -> Result<(), Error> {
    if let Keeper::Guards { mutexes, before } = &world.keeper {
        return work_plainly(world, plan, mutexes, *before).await;
    }
    let mut dice = plan.dice.clone();
    let job = Job {
        world,
        plan,
        db: world.db(plan),
        lock: world.lock(plan),
        begins_outside: B::SERVER && dice.roll(2) == 0,
        level: dice.one_of(&[
            None,
            Some(Isolation::ReadCommitted),
            Some(Isolation::RepeatableRead),
        ]),
    };
    match plan.form {
        Form::Begun | Form::Around | Form::Variable => job.alone().await,
        Form::Isolated | Form::Again => job.beside_another().await,
        Form::Joined | Form::JoinedLate | Form::AroundJoined => job.as_a_part().await,
        Form::Nested | Form::InsideNested => job.in_savepoints().await,
    }
}

/// A plan at work.
struct Job<'a, B: Backend> {
    world: &'a World<B>,
    plan: &'a Plan,
    db: &'a Db<B>,
    lock: Lock,
    /// Whether the transaction around has run something before the lock is taken.
    begins_outside: bool,
    level: Option<Isolation>,
}

impl<B: Backend> Job<'_, B> {
    fn levelled(&self, options: TransactionOptions) -> TransactionOptions {
        match self.level {
            Some(level) => options.isolation(level),
            None => options,
        }
    }

    fn lock(&self) -> Lock {
        self.lock.clone()
    }

    /// What the lock is for.
    async fn add(&self) -> Result<(), Error> {
        let looked = look(self.world, self.plan).await?;
        add(self.world, self.plan, Place::Scope(self.db), &looked).await
    }

    /// What needs no lock.
    async fn aside(&self) -> Result<(), Error> {
        let sql = format!("insert into t (id) values ({})", self.plan.row);
        Ok(B::raw(self.db, &sql).await.map(drop)?)
    }

    async fn aside_afterwards(&self) -> Result<(), Error> {
        dally(&mut self.plan.dice.clone()).await;
        self.aside().await
    }

    async fn alone(&self) -> Result<(), Error> {
        let (db, lock) = (self.db, self.lock());
        let options = self.levelled(TransactionOptions::new());
        match self.plan.form {
            Form::Begun => {
                db.transaction_with(options.lock(lock), async || self.add().await)
                    .await
            }
            Form::Around => {
                let body = async || {
                    db.transaction_with(options.clone(), async || self.add().await)
                        .await?;
                    db.transaction_with(options, async || self.aside().await)
                        .await
                };
                db.locked(lock, body).await
            }
            _ => {
                let held = db.lock(lock).await?;
                let looked = look(self.world, self.plan).await?;
                let tx = held.begin_with(options).await?;
                let add = async || add(self.world, self.plan, Place::Scope(db), &looked).await;
                // Dropped after an error, it keeps the lock until it is rolled back.
                tx.within(add).await?;
                tx.commit().await?;
                held.release().await
            }
        }
    }

    /// In a transaction of its own inside another one.
    async fn beside_another(&self) -> Result<(), Error> {
        let again = self.plan.form == Form::Again;
        let inner = if again {
            Propagation::RequiresNew
        } else {
            Propagation::Isolated
        };
        let inner = self.levelled(mode(inner)).lock(self.lock());
        let body = async || {
            if self.begins_outside {
                self.aside().await?;
            }
            self.db
                .transaction_with(inner, async || self.add().await)
                .await?;
            if self.begins_outside {
                Ok(())
            } else {
                self.aside_afterwards().await
            }
        };
        if again {
            let outer = TransactionOptions::new().isolation(Isolation::ReadCommitted);
            return self
                .db
                .transaction_with(outer.lock(self.lock()), body)
                .await;
        }
        self.db.transaction(body).await
    }

    /// In a part of a transaction, which has begun or not.
    async fn as_a_part(&self) -> Result<(), Error> {
        let late = B::SERVER && self.plan.form == Form::JoinedLate;
        let joined = mode(Propagation::Mandatory);
        let body = async || {
            if late {
                self.aside().await?;
            }
            if self.plan.form == Form::AroundJoined {
                let inner = async || {
                    self.db
                        .transaction_with(joined, async || self.add().await)
                        .await
                };
                self.db.locked(self.lock(), inner).await?;
            } else {
                let joined = joined.lock(self.lock());
                self.db
                    .transaction_with(joined, async || self.add().await)
                    .await?;
            }
            if late {
                Ok(())
            } else {
                self.aside_afterwards().await
            }
        };
        let outer = self.levelled(TransactionOptions::new());
        self.db.transaction_with(outer, body).await
    }

    /// Under a savepoint, after which the transaction goes on.
    async fn in_savepoints(&self) -> Result<(), Error> {
        let nested = mode(Propagation::Nested);
        let body = async || {
            let savepoint = if self.plan.form == Form::Nested {
                let nested = nested.lock(self.lock());
                self.db
                    .transaction_with(nested, async || self.add().await)
                    .await
            } else {
                let joined = mode(Propagation::Mandatory).lock(self.lock());
                let inside = async || {
                    self.db
                        .transaction_with(joined, async || self.add().await)
                        .await
                };
                self.db.transaction_with(nested, inside).await
            };
            self.aside_afterwards().await?;
            savepoint.or_else(|error| {
                if is_on_purpose(&error) {
                    Ok(())
                } else {
                    Err(error)
                }
            })
        };
        let outer = self.levelled(TransactionOptions::new());
        self.db.transaction_with(outer, body).await
    }
}

/// The mistakes: what the lock protects is committed after the lock has opened.
async fn work_plainly<B: Backend>(
    world: &World<B>,
    plan: &Plan,
    mutexes: &Mutexes,
    before: bool,
) -> Result<(), Error> {
    let mut held = Vec::new();
    for counter in &plan.counters {
        let mutex = {
            let mut mutexes = mutexes.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(mutexes.entry(*counter).or_default())
        };
        held.push(mutex.lock_owned().await);
    }
    let pool = world.db(plan).pool();
    let looked = look(world, plan).await?;
    let mut transaction = if B::SERVER {
        pool.begin().await?
    } else {
        pool.begin_with("BEGIN IMMEDIATE").await?
    };
    add(world, plan, Place::Plain(&mut transaction), &looked).await?;
    if before {
        drop(held);
        sleep(AFTERWARDS).await;
        return Ok(transaction.commit().await?);
    }
    transaction.commit().await?;
    drop(held);
    Ok(())
}

// ----- schedules -----------------------------------------------------------------------

/// Whether the plan may end with this error.
fn is_expected(plan: &Plan, error: &Error) -> bool {
    match error {
        Error::LockAfterSnapshot { .. } => plan.form == Form::JoinedLate,
        error => plan.end == End::Err && is_on_purpose(error),
    }
}

async fn worker<B: Backend>(world: &World<B>, mut plan: Plan) {
    dally(&mut plan.dice).await;
    let polls = plan.dropped_at.unwrap_or(usize::MAX);
    let work = AssertUnwindSafe(poll_n(work(world, &plan), polls)).catch_unwind();
    let tally = match work.await {
        Ok((Some(Ok(())), _)) => &world.well,
        Ok((None, _)) => &world.dropped,
        Err(_) if plan.end == End::Panic => &world.failed,
        Ok((Some(Err(Error::LockAfterSnapshot { .. })), _)) if plan.form == Form::JoinedLate => {
            &world.refused
        }
        Ok((Some(Err(error)), _)) if is_expected(&plan, &error) => &world.failed,
        Ok((Some(Err(error)), _)) => {
            // A violation that was complained about fails the transaction as well.
            return world.accuse(format_args!("{error:?}: {plan:?}"));
        }
        Err(_) => return world.accuse(format_args!("a panic: {plan:?}")),
    };
    tally.fetch_add(1, Ordering::Relaxed);
}

async fn schedule<B: Backend>(world: &World<B>, seed: u64, number: i64) {
    let mut dice = Dice::new(seed);
    let first_row = 10 * number;
    let plans = (0..WORKERS).map(|worker| {
        let row = first_row + i64::try_from(worker).expect("few");
        Plan::roll(&mut dice, 2 * number, row)
    });
    let workers: Vec<_> = plans.map(|plan| worker(world, plan)).collect();
    if timeout(world.patience(), join_all(workers)).await.is_err() {
        world.accuse(format_args!("it hangs, TX_TEST_SEED={seed}"));
    }
}

/// Runs schedules and gives what speaks against them, in words.
async fn run<B: Backend>(name: &str, keeper: Keeper) -> Option<Vec<String>> {
    let started = Instant::now();
    let seed = Dice::wished_seed();
    let schedules = wish("TX_TEST_SCHEDULES").unwrap_or(SCHEDULES);
    let world = Arc::new(World::<B>::new(keeper, seed).await?);
    let counters = i64::try_from(2 * schedules).expect("some thousands");
    let rows: Vec<String> = (0..counters).map(|id| format!("({id}, 0)")).collect();
    let insert = format!("insert into counter (id, v) values {}", rows.join(", "));
    world.bed.control_raw(&insert).await;

    let next = Arc::new(AtomicU64::new(0));
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let (world, next) = (Arc::clone(&world), Arc::clone(&next));
        lanes.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= schedules || world.is_found_out() {
                    return;
                }
                let id = i64::try_from(number).expect("some thousands");
                schedule(&world, seed.wrapping_add(number), id).await;
            }
        });
    }
    lanes.join_all().await;
    judge_stored(&world, counters).await;

    let count = |tally: &AtomicUsize| tally.load(Ordering::Relaxed);
    let line = format!(
        "locks: {} schedules on {}, {name}: {} well, {} dropped, {} failed as planned, {} refused; \
         seed {seed}; {:.1?}\n",
        next.load(Ordering::Relaxed).min(schedules),
        B::LABEL,
        count(&world.well),
        count(&world.dropped),
        count(&world.failed),
        count(&world.refused),
        started.elapsed()
    );
    let violations = std::mem::take(
        &mut *world
            .violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
    );
    let line = format!("{}, {} violations\n", line.trim_end(), violations.len());
    // Past the capture of the test runner: the seed is half the purpose.
    drop(std::io::stderr().write_all(line.as_bytes()));
    if let Some(world) = Arc::into_inner(world) {
        // Plain sqlx may have wedged its pool.
        drop(timeout(PLAIN_PATIENCE / 10, world.other.pool().close()).await);
        world.looking.close().await;
        world.bed.finish().await;
    }
    Some(violations)
}

/// What the database holds when all is over.
async fn judge_stored<B: Backend>(world: &World<B>, counters: i64) {
    world.other.drain().await;
    if let Err(wrong) = world.bed.clean().await {
        world.accuse(wrong);
    }
    let wrong = "
        select c.id from counter c
        where c.v <> (select count(*) from entry e where e.counter = c.id)";
    for counter in world.bed.control_ints(wrong).await {
        world.accuse(format_args!("counter {counter} has lost an update"));
    }
    let twice = "select counter from entry group by counter, seen having count(*) > 1";
    for counter in world.bed.control_ints(twice).await {
        world.accuse(format_args!(
            "counter {counter} was raised twice from the same number"
        ));
    }
    if B::SERVER {
        let keys: Vec<String> = (0..counters).map(key).collect();
        for keys in keys.chunks(200) {
            let left = world.bed.lock_holders_of(keys).await;
            if !left.is_empty() {
                world.accuse(format_args!(
                    "one of the locks {keys:?} is left with {left:?}"
                ));
            }
        }
    }
}

async fn holds<B: Backend>(name: &str, keeper: Keeper) {
    let Some(violations) = run::<B>(name, keeper).await else {
        return;
    };
    let (count, first) = (violations.len(), violations.iter().take(5));
    let first: Vec<_> = first.map(String::as_str).collect();
    assert!(
        count == 0,
        "{count} violations on {}, {name}:\n{}",
        B::LABEL,
        first.join("\n")
    );
}

async fn holds_with_redis<B: Backend>() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let connect = async || RedisLocks::connect(server.url()).await.expect("it answers");
    let handles = [connect().await, connect().await];
    holds::<B>("RedisLocks", Keeper::Redis(handles)).await;
}

/// A broken order must be found out by the same checks.
async fn is_found_out<B: Backend>(name: &str, keeper: Keeper) {
    let Some(violations) = run::<B>(name, keeper).await else {
        return;
    };
    assert!(
        violations.iter().any(|it| is_proof(it)),
        "{name} was not found out on {}",
        B::LABEL
    );
}

/// Whether this is what the database has seen, and not a slow machine.
fn is_proof(violation: &str) -> bool {
    violation.starts_with("counter") || violation.starts_with("a transaction")
}

fn on_threads(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}

macro_rules! schedules {
    ($($database:ident: $driver:ty;)+) => {
        $(mod $database {
            use super::*;

            #[test]
            fn local_locks() {
                on_threads(holds::<$driver>("LocalLocks", Keeper::Local(LocalLocks::new())));
            }

            #[test]
            fn redis_locks() {
                on_threads(holds_with_redis::<$driver>());
            }

            #[test]
            fn locks_of_each_process() {
                let apart = [LocalLocks::new(), LocalLocks::new()];
                on_threads(is_found_out::<$driver>("broken: locks of each process", Keeper::Apart(apart)));
            }

            #[test]
            fn locks_opened_too_early() {
                let (mutexes, before) = (Mutexes::default(), true);
                let early = Keeper::Guards { mutexes, before };
                on_threads(is_found_out::<$driver>("broken: opened before COMMIT", early));
            }
        })+
    };
}

schedules! {
    sqlite: Sqlite;
    postgres: Postgres;
    mysql: MySql;
}

#[test]
fn guards_dropped_at_commit_on_postgres() {
    let (mutexes, before) = (Mutexes::default(), false);
    let dropped = Keeper::Guards { mutexes, before };
    on_threads(is_found_out::<Postgres>(
        "broken: opened when dropped",
        dropped,
    ));
}

#[test]
fn database_locks_on_postgres() {
    on_threads(holds::<Postgres>("DatabaseLocks", Keeper::Database));
}

#[test]
fn database_locks_on_mysql() {
    on_threads(holds::<MySql>("DatabaseLocks", Keeper::Database));
}
