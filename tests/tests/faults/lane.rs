//! A database behind a wire of its own, and the runs of a transaction over it.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tx_runtime::Db;
use tx_tests::{Backend, Bed, Frame, Proxy, Shape};

use crate::fault::Fault;
use crate::work::{Ending, Form, TABLE, Told, work};

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long a server may take to notice what plain sqlx has left behind.
const PLAIN_PATIENCE: Duration = Duration::from_millis(300);

const STEP: Duration = Duration::from_millis(2);

/// What the transaction finds in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing: it connects.
    Empty,
    /// A connection with no statement prepared.
    Cold,
    /// A connection that has run the same transaction before.
    Warm,
}

impl Start {
    pub(crate) const ALL: [Self; 3] = [Self::Empty, Self::Cold, Self::Warm];
}

/// A transaction, undisturbed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub(crate) form: Form,
    pub(crate) start: Start,
    pub(crate) ending: Ending,
}

/// A transaction that comes to harm at one of its messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) course: Course,
    pub(crate) point: usize,
    pub(crate) fault: Fault,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Course {
            form,
            start,
            ending,
        } = self.course;
        let Self { point, fault, .. } = self;
        write!(f, "{form:?} {start:?} {ending:?}, {fault:?} at {point}")
    }
}

/// What became of a case.
#[derive(Debug)]
pub(crate) struct Seen {
    /// `None`: the caller had gone.
    pub(crate) told: Option<Told>,
    /// By how much each of the two rows has grown.
    pub(crate) stored: [i64; 2],
    /// Whether the server was asked what became of the COMMIT.
    pub(crate) asked: bool,
    /// What is wrong with the pool and the server afterwards.
    pub(crate) left: Option<String>,
}

/// A bed whose pool has one connection, which goes through the proxy.
pub(crate) struct Lane<B: Backend> {
    bed: Bed<B>,
    proxy: Proxy,
}

impl<B: Backend> Lane<B> {
    /// `None` where the database's server is absent.
    pub(crate) async fn new() -> Option<Self> {
        let (bed, proxy) = Bed::proxied(1, Shape::WHOLE).await?;
        bed.control_raw(TABLE).await;
        Some(Self { bed, proxy })
    }

    pub(crate) async fn finish(self) {
        self.bed.finish().await;
    }

    /// The messages of an undisturbed run.
    pub(crate) async fn record(&mut self, course: Course) -> Vec<Frame> {
        self.prepare(course).await;
        work(course.form, &self.bed.db, course.ending).await;
        assert!(self.comes_to_rest(PATIENCE).await, "{course:?}");
        self.proxy.frames()
    }

    pub(crate) async fn run(&mut self, case: Case) -> Seen {
        let Course { form, ending, .. } = case.course;
        self.prepare(case.course).await;
        let before = self.stored(form).await;
        let trap = self.proxy.strike(case.point, case.fault.strike());
        let work = work(form, &self.bed.db, ending);
        let told = case.fault.befall(&trap, self.bed.kill_all(), work);
        let told = timeout(PATIENCE, told)
            .await
            .unwrap_or_else(|_| panic!("{} {case} hangs", B::LABEL));
        trap.sprung().await;
        let left = match form {
            Form::Ours => self.bed.clean().await.err(),
            Form::Plain => self.left_by_plain().await,
        };
        let after = self.stored(form).await;
        if form == Form::Plain {
            self.bed.kill_all().await;
        }
        let log = self.proxy.log();
        Seen {
            told,
            stored: [after[0] - before[0], after[1] - before[1]],
            asked: log.iter().any(|(_, sql)| sql.contains("pg_xact_status")),
            left,
        }
    }

    /// Makes a fresh pool as the course wants to find it, and counts messages from here.
    async fn prepare(&mut self, course: Course) {
        let old = self.bed.db.pool().clone();
        let (pool, options) = (old.options().clone(), old.connect_options());
        let options = options.as_ref().clone();
        // A pool that plain sqlx has wedged never closes.
        drop(timeout(PLAIN_PATIENCE, old.close()).await);
        let Course { form, start, .. } = course;
        self.bed.db = match (form, start) {
            (Form::Ours, Start::Cold | Start::Warm) => Db::connect_with(pool, options)
                .await
                .expect("the database can be reached"),
            _ => Db::new(pool.connect_lazy_with(options)),
        };
        match start {
            Start::Empty => {}
            Start::Cold => drop(self.bed.db.pool().acquire().await.expect("a connection")),
            Start::Warm => {
                let told = work(form, &self.bed.db, Ending::Commit).await;
                assert_eq!(told, Told::Committed, "{} {course:?}", B::LABEL);
            }
        }
        assert!(self.comes_to_rest(PATIENCE).await, "{course:?}");
        self.proxy.clear();
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

    /// What plain sqlx leaves behind, given the time that a server takes to notice.
    async fn left_by_plain(&self) -> Option<String> {
        if !self.comes_to_rest(PLAIN_PATIENCE).await {
            return Some("a connection does not come back".to_owned());
        }
        let started = Instant::now();
        while self.bed.open_transactions().await > 0 {
            if started.elapsed() > PLAIN_PATIENCE {
                return Some("an open transaction".to_owned());
            }
            sleep(STEP).await;
        }
        None
    }

    /// The two rows, as the control connection sees them; after a run of ours it must also
    /// find them free of locks.
    async fn stored(&self, form: Form) -> [i64; 2] {
        let lock = match form {
            Form::Ours => " for update",
            Form::Plain => "",
        };
        let rows = format!("select n from counter order by id{lock}");
        let rows = timeout(PATIENCE, self.bed.control_ints(&rows)).await;
        let rows = rows.unwrap_or_else(|_| panic!("{}: a lock is left", B::LABEL));
        rows.try_into().expect("two rows")
    }
}
