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

/// The time of a scope that is to be over while a message is under way.
const LIMIT: Duration = Duration::from_millis(200);

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
    /// Whether its scope has a limit.
    pub(crate) timed: bool,
}

/// A transaction that comes to harm at one of its messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) course: Course,
    pub(crate) point: usize,
    pub(crate) fault: Fault,
    /// What befalls a later message, of a connection that was not there before.
    pub(crate) again: Option<(usize, Fault)>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Course {
            form,
            start,
            ending,
            timed,
        } = self.course;
        let Self { point, fault, .. } = self;
        let timed = if timed { " timed" } else { "" };
        write!(
            f,
            "{form:?} {start:?} {ending:?}{timed}, {fault:?} at {point}"
        )?;
        match self.again {
            None => Ok(()),
            Some((point, fault)) => write!(f, ", {fault:?} at {point}"),
        }
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
    /// Whether that came to harm too.
    pub(crate) struck_again: bool,
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
        let limit = course.timed.then_some(PATIENCE);
        work(course.form, &self.bed.db, course.ending, limit).await;
        assert!(self.comes_to_rest(PATIENCE).await, "{course:?}");
        self.proxy.frames()
    }

    /// How many messages there are until what became of `case` is known.
    pub(crate) async fn messages_until_known(&mut self, case: Case) -> usize {
        self.run(case).await;
        self.proxy.frames().len()
    }

    pub(crate) async fn run(&mut self, case: Case) -> Seen {
        let mut limit = LIMIT;
        loop {
            if let Some(seen) = self.try_run(case, limit).await {
                return seen;
            }
            // The machine is busy: its time was over before.
            limit *= 2;
            assert!(limit < PATIENCE, "{} {case} does not come so far", B::LABEL);
        }
    }

    /// `None` if the time of a scope was over before its message came.
    async fn try_run(&mut self, case: Case, limit: Duration) -> Option<Seen> {
        let Course {
            form,
            ending,
            timed,
            ..
        } = case.course;
        self.prepare(case.course).await;
        let before = self.stored(form).await;
        let trap = self.proxy.strike(case.point, case.fault.strike());
        let again = case.again;
        let again = again.map(|(point, fault)| self.proxy.strike(point, fault.strike()));
        let work = work(form, &self.bed.db, ending, timed.then_some(limit));
        let told = case.fault.befall(&trap, limit, self.bed.kill_all(), work);
        let told = timeout(PATIENCE, told)
            .await
            .unwrap_or_else(|_| panic!("{} {case} hangs", B::LABEL));
        if case.fault != Fault::Expired {
            trap.sprung().await;
        }
        let left = match form {
            Form::Ours => self.bed.clean().await.err(),
            Form::Plain => self.left_by_plain().await,
        };
        let after = self.stored(form).await;
        if form == Form::Plain {
            self.bed.kill_all().await;
        }
        if !trap.has_sprung() {
            return None;
        }
        let log = self.proxy.log();
        Some(Seen {
            told,
            stored: [after[0] - before[0], after[1] - before[1]],
            asked: log.iter().any(|(_, sql)| sql.contains("pg_xact_status")),
            struck_again: again.is_some_and(|again| again.has_sprung()),
            left,
        })
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
                let told = work(form, &self.bed.db, Ending::Commit, None).await;
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
