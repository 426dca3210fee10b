//! The sweep: a caller walks away at every await point in turn, and nothing stays behind.
//!
//! Work of every kind of message is dropped when it is pending for the n-th time, for n = 1,
//! 2, 3 and so on until it completes. After each drop the pool must be clean, the work stored
//! whole or not at all, and the next user of the connection served rightly. The same sweep
//! over plain sqlx must find faults, or it would prove nothing.

use std::fmt;
use std::io::Write as _;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlx::{Connection, Executor, MySql, Postgres, Sqlite};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};
use tx_runtime::{Db, Error, Propagation, TransactionOptions, transactional};
use tx_tests::{Answer, Backend, Bed, Proxy, Shape, poll_n};

/// No work has that many await points; a sweep that comes here goes in circles.
const MOST_POLLS: usize = 2_000;

/// How long the next user may take. A fault of ours must not pass as slowness.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same for plain sqlx, many of whose faults are waits without end.
const PLAIN_PATIENCE: Duration = Duration::from_millis(700);

/// How often a condition is looked at that comes true on its own.
const STEP: Duration = Duration::from_millis(2);

/// Rows of the next users, far from those of the work.
const NEXT_USER: i64 = 1_000_000;

// ----- statements with bound values ---------------------------------------------------

/// What generic code cannot say without a page of bounds.
trait Bound: Backend {
    /// Inserts the row `id`, its values bound.
    fn put<'e>(executor: impl Executor<'e, Database = Self> + 'e, id: i64) -> Answer<'e, u64>;

    /// How many rows have this id, bound.
    fn count<'e>(executor: impl Executor<'e, Database = Self> + 'e, id: i64) -> Answer<'e, i64>;

    /// Gives back `value`, bound: an answer that belongs to another statement is noticed.
    fn echo<'e>(executor: impl Executor<'e, Database = Self> + 'e, value: i64) -> Answer<'e, i64>;
}

macro_rules! bound {
    ($driver:ty, $insert:literal, $count:literal, $echo:literal) => {
        impl Bound for $driver {
            fn put<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                id: i64,
            ) -> Answer<'e, u64> {
                let query = sqlx::query($insert).bind(id).bind("swept");
                Box::pin(async move { Ok(query.execute(executor).await?.rows_affected()) })
            }

            fn count<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                id: i64,
            ) -> Answer<'e, i64> {
                Box::pin(sqlx::query_scalar($count).bind(id).fetch_one(executor))
            }

            fn echo<'e>(
                executor: impl Executor<'e, Database = Self> + 'e,
                value: i64,
            ) -> Answer<'e, i64> {
                Box::pin(sqlx::query_scalar($echo).bind(value).fetch_one(executor))
            }
        }
    };
}

bound!(
    Sqlite,
    "insert into t (id, v) values (?1, ?2)",
    "select count(*) from t where id = ?1",
    "select ?1 + 0"
);
bound!(
    Postgres,
    "insert into t (id, v) values ($1, $2)",
    "select count(*) from t where id = $1",
    "select $1::bigint + 0"
);
bound!(
    MySql,
    "insert into t (id, v) values (?, ?)",
    "select count(*) from t where id = ?",
    "select cast(? as signed) + 0"
);

// ----- the work, in each of the forms it can be written in ----------------------------

/// How the work is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Closures,
    Attribute,
    Explicit,
    /// sqlx without this crate.
    Plain,
}

const OURS: [Form; 3] = [Form::Closures, Form::Attribute, Form::Explicit];

/// BEGIN, an insert, a select, a savepoint with an insert, its release, COMMIT.
async fn work<B: Bound>(form: Form, db: &Db<B>, id: i64) -> Result<(), Error> {
    match form {
        Form::Closures => by_closures(db, id).await,
        Form::Attribute => by_attribute(db, id).await,
        Form::Explicit => by_hand(db, id).await,
        Form::Plain => Ok(by_plain_sqlx(db, id).await?),
    }
}

async fn by_closures<B: Bound>(db: &Db<B>, id: i64) -> Result<(), Error> {
    db.transaction(async || {
        B::put(db, id).await?;
        B::count(db, id).await?;
        let second = db.savepoint(async || Ok::<_, Error>(B::put(db, id + 1).await.map(drop)?));
        second.await
    })
    .await
}

#[transactional]
async fn by_attribute<B: Bound>(db: &Db<B>, id: i64) -> Result<(), Error> {
    B::put(db, id).await?;
    B::count(db, id).await?;
    second_row(db, id + 1).await
}

#[transactional(propagation = Nested)]
async fn second_row<B: Bound>(db: &Db<B>, id: i64) -> Result<(), Error> {
    B::put(db, id).await?;
    Ok(())
}

async fn by_hand<B: Bound>(db: &Db<B>, id: i64) -> Result<(), Error> {
    let mut outer = db.begin().await?;
    B::put(&outer, id).await?;
    B::count(&outer, id).await?;
    let inner = outer.begin().await?;
    B::put(&inner, id + 1).await?;
    inner.commit().await?;
    outer.commit().await
}

async fn by_plain_sqlx<B: Bound>(db: &Db<B>, id: i64) -> Result<(), sqlx::Error> {
    let mut outer = db.pool().begin().await?;
    B::put(B::on(&mut outer), id).await?;
    B::count(B::on(&mut outer), id).await?;
    let mut inner = outer.begin().await?;
    B::put(B::on(&mut inner), id + 1).await?;
    inner.commit().await?;
    outer.commit().await
}

// ----- the connection that the work starts on ------------------------------------------

/// What the work finds in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// Nothing: it connects itself.
    Empty,
    /// A new connection, with no statement prepared.
    Cold,
    /// A connection that has run the same statements before.
    Warm,
}

/// A bed whose pool has one connection, so that the next user gets the one just dropped.
struct Subject<B: Backend> {
    bed: Bed<B>,
    /// Ends with this value, and the pool's connections with it.
    _proxy: Option<Proxy>,
}

impl<B: Bound> Subject<B> {
    /// `None` where the database's server is absent.
    async fn new(shape: Option<Shape>, connections: u32) -> Option<Self> {
        let (bed, proxy) = match shape {
            None => (Bed::with_pool(connections).await?, None),
            Some(shape) => {
                let (bed, proxy) = Bed::proxied(connections, shape).await?;
                (bed, Some(proxy))
            }
        };
        Some(Self { bed, _proxy: proxy })
    }

    /// Replaces the pool by a fresh one of the same options.
    async fn renew(&mut self, connect: bool) {
        let old = self.bed.db.pool().clone();
        let (pool, options) = (old.options().clone(), old.connect_options());
        // Untested connections are the other way a pool hands them out: BEGIN comes first.
        self.bed.db = if connect {
            Db::connect_with(pool, options.as_ref().clone())
                .await
                .expect("the database can be reached")
        } else {
            Db::new(pool.connect_lazy_with(options.as_ref().clone()))
        };
        // A pool that plain sqlx has wedged never closes.
        drop(timeout(PLAIN_PATIENCE, old.close()).await);
        assert!(!connect || self.comes_to_rest(PATIENCE).await);
    }

    async fn prepare(&mut self, start: Start, form: Form, id: i64) {
        match start {
            Start::Empty => self.renew(false).await,
            Start::Cold => self.renew(true).await,
            Start::Warm => {
                work(form, &self.bed.db, id).await.expect("undisturbed");
                assert!(self.comes_to_rest(PATIENCE).await);
            }
        }
    }

    /// Whether every connection comes back to the pool in time.
    async fn comes_to_rest(&self, patience: Duration) -> bool {
        let pool = self.bed.db.pool();
        let started = Instant::now();
        while pool.num_idle() < pool.size() as usize {
            if started.elapsed() > patience {
                return false;
            }
            sleep(STEP).await;
        }
        true
    }

    /// Whether what was dropped has left the pool as it should be; the error says how not.
    async fn clean(&self, form: Form) -> Result<(), String> {
        if form != Form::Plain {
            return self.bed.clean().await;
        }
        if !self.comes_to_rest(PLAIN_PATIENCE).await {
            return Err("a connection does not come back".to_owned());
        }
        match self.bed.open_transactions().await {
            0 => Ok(()),
            open => Err(format!("{open} open transaction(s)")),
        }
    }

    /// Runs what the next user of the connection may want, right after the drop.
    async fn next_user(&self, form: Form, n: i64) -> Result<(), String> {
        let patience = match form {
            Form::Plain => PLAIN_PATIENCE,
            _ => PATIENCE,
        };
        timeout(patience, self.use_next(form, n))
            .await
            .unwrap_or_else(|_| Err("the next user waits without end".to_owned()))
    }

    async fn use_next(&self, form: Form, n: i64) -> Result<(), String> {
        let said = |what: &'static str| {
            move |error: &dyn fmt::Display| format!("the next user's {what} fails: {error}")
        };
        let db = &self.bed.db;
        let echo = B::echo(B::pool(db.pool()), n).await;
        let echo = echo.map_err(|error| said("select")(&error))?;
        if echo != n {
            return Err(format!("the next user's select of {n} gives {echo}"));
        }
        let alone = NEXT_USER + 10 * n;
        let inserted = B::put(B::pool(db.pool()), alone).await;
        inserted.map_err(|error| said("insert")(&error))?;
        if self.stored(&[alone]).await != [alone] {
            return Err("the next user's autocommit insert is not visible".to_owned());
        }
        let scope = work(form, db, alone + 1).await;
        scope.map_err(|error| said("transaction")(&error))?;
        let scope = [alone + 1, alone + 2];
        if self.stored(&scope).await != scope {
            return Err("the next user's transaction is not stored".to_owned());
        }
        Ok(())
    }

    /// Those of `ids` that are committed, as the control connection sees them.
    async fn stored(&self, ids: &[i64]) -> Vec<i64> {
        let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let list = list.join(", ");
        let sql = format!("select id from t where id in ({list}) order by id");
        self.bed.control_ints(&sql).await
    }
}

// ----- one sweep -----------------------------------------------------------------------

/// What a sweep, or several, have found.
#[derive(Default)]
struct Tally {
    cases: usize,
    /// Cancelled, and stored all the same: COMMIT was under way.
    committed: usize,
    violations: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.committed += other.committed;
        self.violations.extend(other.violations);
    }
}

/// Drops `form` of the work at every await point.
async fn sweep<B: Bound>(form: Form, start: Start, shape: Option<Shape>) -> Option<Tally> {
    let mut subject = Subject::<B>::new(shape, 1).await?;
    let mut tally = Tally::default();
    for n in 1.. {
        assert!(n < MOST_POLLS, "{form:?}, {start:?}: the work never ends");
        let id = 10 * i64::try_from(n).expect("n is small");
        subject.prepare(start, form, id + 5).await;
        let (output, _) = poll_n(work(form, &subject.bed.db, id), n).await;
        let done = output.is_some();
        output.transpose().expect("undisturbed work succeeds");
        tally.cases += 1;
        let next = subject.next_user(form, id / 10).await;
        let clean = subject.clean(form).await;
        let rows = subject.stored(&[id, id + 1]).await;
        tally.committed += usize::from(!done && !rows.is_empty());
        let whole = match rows.len() {
            0 if done => Err("committed work is not stored".to_owned()),
            1 => Err(format!("partly stored: {rows:?}")),
            _ => Ok(()),
        };
        let wrong: Vec<_> = [next, clean, whole]
            .into_iter()
            .filter_map(Result::err)
            .collect();
        if !wrong.is_empty() {
            let wrong = wrong.join("; ");
            tally
                .violations
                .push(format!("{} {form:?} {start:?} n = {n}: {wrong}", B::LABEL));
            // What is broken stays broken, and is not to be counted twice.
            subject.renew(true).await;
        }
        if done {
            break;
        }
    }
    Some(tally)
}

/// Sweeps every form from every start, all at once, since most of it is waiting.
async fn sweep_all<B: Bound>(label: &str, shape: Option<Shape>, starts: &[Start], times: usize) {
    let started = Instant::now();
    let sweeps = LocalSet::new();
    let mut running = Vec::new();
    for form in OURS.into_iter().chain([Form::Plain]) {
        for &start in starts {
            let times = if form == Form::Plain { 1 } else { times };
            for _ in 0..times {
                // A task of its own, so that its futures are polled for its own events only.
                let sweep = sweeps.spawn_local(sweep::<B>(form, start, shape));
                running.push(async move { (form, sweep.await.expect("a sweep panicked")) });
            }
        }
    }
    let (mut ours, mut plain) = (Tally::default(), Tally::default());
    for (form, tally) in sweeps.run_until(join_all(running)).await {
        let Some(tally) = tally else { return };
        match form {
            Form::Plain => plain.add(tally),
            _ => ours.add(tally),
        }
    }
    report(&format!(
        "{} {label}: {} cases ({} committed though cancelled), violations ours {}; plain sqlx {} of {}; {:?}",
        B::LABEL,
        ours.cases,
        ours.committed,
        ours.violations.len(),
        plain.violations.len(),
        plain.cases,
        started.elapsed(),
    ));
    assert!(ours.violations.is_empty(), "{:#?}", ours.violations);
    if B::SERVER {
        assert!(!plain.violations.is_empty(), "the sweep does not bite");
        assert!(ours.committed > 0, "no sweep has cut off a COMMIT");
    }
}

/// One line past the capture of the test runner: these numbers are what the test is for.
fn report(line: &str) {
    drop(writeln!(std::io::stderr(), "sweep: {line}"));
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}

/// Answers in pieces small enough to cut every message of the protocol.
const POSTGRES_PIECES: Shape = Shape::pieces(7, Duration::from_millis(1));
const MYSQL_PIECES: Shape = Shape::pieces(5, Duration::from_millis(1));

const ALL_STARTS: [Start; 3] = [Start::Empty, Start::Cold, Start::Warm];
/// Without connecting, whose messages are the driver's own and many.
const CONNECTED: [Start; 2] = [Start::Cold, Start::Warm];

#[test]
fn whole_messages_on_postgres() {
    run(sweep_all::<Postgres>("whole", Some(Shape::WHOLE), &ALL_STARTS, 1));
}

#[test]
fn whole_messages_on_mysql() {
    run(sweep_all::<MySql>("whole", Some(Shape::WHOLE), &ALL_STARTS, 1));
}

#[test]
fn fragments_on_postgres() {
    let shape = Some(POSTGRES_PIECES);
    run(sweep_all::<Postgres>("7 bytes", shape, &CONNECTED, 1));
}

#[test]
fn fragments_on_mysql() {
    let shape = Some(MYSQL_PIECES);
    run(sweep_all::<MySql>("5 bytes", shape, &CONNECTED, 1));
}

/// Where its worker thread is when a future is dropped varies from run to run.
#[test]
fn sqlite_ten_times() {
    run(sweep_all::<Sqlite>("ten times", None, &ALL_STARTS, 10));
}
