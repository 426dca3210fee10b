//! A database whose pool is watched, and who uses the pool next.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tx_runtime::Db;
use tx_tests::{Bed, Proxy, Shape};

use crate::statements::Bound;
use crate::tally::{Found, Wrong, fault};
use crate::work::{Form, work};

/// How long the next user may take. A fault of ours must not pass as slowness.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The same for plain sqlx, many of whose faults are waits without end.
pub(crate) const PLAIN_PATIENCE: Duration = Duration::from_secs(3);

/// How often a condition is looked at that comes true on its own.
const STEP: Duration = Duration::from_millis(2);

/// Rows of the next users, far from those of the work.
const NEXT_USER: i64 = 1_000_000;

/// What the work finds in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing: it connects itself.
    Empty,
    /// A new connection, with no statement prepared.
    Cold,
    /// A connection that has run the same statements before.
    Warm,
}

/// A bed whose pool has one connection, so that the next user gets the one just dropped.
pub(crate) struct Subject<B: Bound> {
    pub(crate) bed: Bed<B>,
    /// Ends with this value, and the pool's connections with it.
    _proxy: Option<Proxy>,
}

impl<B: Bound> Subject<B> {
    /// `None` where the database's server is absent.
    pub(crate) async fn new(shape: Option<Shape>, connections: u32) -> Option<Self> {
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
    pub(crate) async fn renew(&mut self, connect: bool) {
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

    pub(crate) async fn prepare(&mut self, start: Start, form: Form, id: i64) {
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
    async fn clean(&self, form: Form) -> Found {
        if form != Form::Plain {
            return self.bed.clean().await.map_err(Wrong::Fault);
        }
        if !self.comes_to_rest(PLAIN_PATIENCE).await {
            return Err(Wrong::Hang("a connection does not come back"));
        }
        match self.bed.open_transactions().await {
            0 => Ok(()),
            open => fault(format!("{open} open transaction(s)")),
        }
    }

    /// What there is to say against the pool after a drop.
    pub(crate) async fn aftermath(&self, form: Form, id: i64) -> [Found; 2] {
        let next = self.next_user(form, id / 10).await;
        // What has once been found broken need not be waited for again.
        let skip = form == Form::Plain && next.is_err();
        let clean = if skip { Ok(()) } else { self.clean(form).await };
        [next, clean]
    }

    /// Runs what the next user of the connection may want, right after the drop.
    async fn next_user(&self, form: Form, n: i64) -> Found {
        let patience = match form {
            Form::Plain => PLAIN_PATIENCE,
            _ => PATIENCE,
        };
        timeout(patience, self.use_next(form, n))
            .await
            .unwrap_or(Err(Wrong::Hang("the next user waits without end")))
    }

    async fn use_next(&self, form: Form, n: i64) -> Found {
        let fails = |what: &str, error: &dyn fmt::Display| {
            Wrong::Fault(format!("the next user's {what} fails: {error}"))
        };
        let db = &self.bed.db;
        let echo = B::echo(B::pool(db.pool()), n).await;
        let echo = echo.map_err(|error| fails("select", &error))?;
        if echo != n {
            return fault(format!("the next user's select of {n} gives {echo}"));
        }
        let alone = NEXT_USER + 10 * n;
        let inserted = B::put(B::pool(db.pool()), alone).await;
        inserted.map_err(|error| fails("insert", &error))?;
        if self.stored(&[alone]).await != [alone] {
            return fault("the next user's autocommit insert is not visible");
        }
        let scope = work(form, db, alone + 1).await;
        scope.map_err(|error| fails("transaction", &error))?;
        let scope = [alone + 1, alone + 2];
        if self.stored(&scope).await != scope {
            return fault("the next user's transaction is not stored");
        }
        Ok(())
    }

    /// Those of `ids` that are committed, as the control connection sees them.
    pub(crate) async fn stored(&self, ids: &[i64]) -> Vec<i64> {
        let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let list = list.join(", ");
        let sql = format!("select id from t where id in ({list}) order by id");
        self.bed.control_ints(&sql).await
    }
}
