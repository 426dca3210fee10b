//! The test bed: a `Db` over a pool on a database of its own, and somebody outside who looks.

use std::fmt;
use std::time::{Duration, Instant};

use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::{ConnectOptions as _, Connection};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tx_runtime::{Db, DbBuilder};

use crate::backend::{Backend, ConnectOptions};
use crate::proxy::{Proxy, Shape};
use crate::scratch::Scratch;

/// How long the pool invariant may take to come true after a test's last await, also on a
/// machine that is busy with something else.
const SETTLE_LIMIT: Duration = Duration::from_mins(1);

/// Longer than this nobody waits for a pool to close: plain sqlx leaves some that never do.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What takes longer than this for a connection, waits for one that does not come: far more than
/// any test needs, so that it is told apart from a busy machine.
const ACQUIRE_LIMIT: Duration = Duration::from_mins(1);

/// How often it is looked at in that time.
const SETTLE_STEP: Duration = Duration::from_millis(5);

/// The longest wait for a connection of those who know that there is none.
const IMPATIENCE: Duration = Duration::from_secs(2);

/// The pool's size unless a test asks for another.
const POOL: u32 = 4;

/// A scratch database, a [`Db`] over a pool on it, and a control connection of no pool.
///
/// The constructors give `None` where the database's server is absent; the test returns then.
pub struct Bed<B: Backend> {
    /// What is under test.
    pub db: Db<B>,
    control: Mutex<B::Connection>,
    scratch: Scratch<B>,
    settle_limit: Duration,
}

impl<B: Backend> Bed<B> {
    /// With a lazily connected pool of 4, wrapped by `Db::new`.
    pub async fn new() -> Option<Self> {
        Self::with_pool(POOL).await
    }

    /// As [`new`](Self::new), with a pool of `max`.
    pub async fn with_pool(max: u32) -> Option<Self> {
        Self::build(|pool| pool.max_connections(max), |builder| builder).await
    }

    /// As [`new`](Self::new), with changes to the pool's options and to the `Db`.
    ///
    /// On SQLite, an `after_connect` of the caller's own replaces the one that
    /// [`pid`](Self::pid) needs.
    pub async fn build(
        pool: impl FnOnce(PoolOptions<B>) -> PoolOptions<B>,
        builder: impl FnOnce(DbBuilder<B>) -> DbBuilder<B>,
    ) -> Option<Self> {
        Self::build_with(|options| options, pool, builder).await
    }

    /// As [`build`](Self::build), with changes to the connect options too.
    pub async fn build_with(
        connect: impl FnOnce(ConnectOptions<B>) -> ConnectOptions<B>,
        pool: impl FnOnce(PoolOptions<B>) -> PoolOptions<B>,
        builder: impl FnOnce(DbBuilder<B>) -> DbBuilder<B>,
    ) -> Option<Self> {
        let scratch = B::scratch().await?;
        let options = connect(scratch.options().clone());
        let pool = pool(pool_options()).connect_lazy_with(options);
        let db = builder(Db::builder(pool)).build();
        Some(Self::over(scratch, db).await)
    }

    /// As [`with_pool`](Self::with_pool), through `Db::connect_with`, which tunes the pool.
    ///
    /// # Panics
    ///
    /// If that fails.
    pub async fn connected(max: u32) -> Option<Self> {
        let scratch = B::scratch().await?;
        let pool = pool_options().max_connections(max);
        let db = Db::connect_with(pool, scratch.options().clone())
            .await
            .unwrap_or_else(|error| panic!("{}: Db::connect_with: {error}", B::LABEL));
        Some(Self::over(scratch, db).await)
    }

    /// As [`with_pool`](Self::with_pool), with the pool's connections, but not the control
    /// connection, through a proxy.
    ///
    /// # Panics
    ///
    /// On SQLite, which has no wire.
    pub async fn proxied(max: u32, shape: Shape) -> Option<(Self, Proxy)> {
        Self::build_proxied(shape, |pool| pool.max_connections(max), |builder| builder).await
    }

    /// As [`build`](Self::build), through a proxy.
    ///
    /// # Panics
    ///
    /// On SQLite, which has no wire.
    pub async fn build_proxied(
        shape: Shape,
        pool: impl FnOnce(PoolOptions<B>) -> PoolOptions<B>,
        builder: impl FnOnce(DbBuilder<B>) -> DbBuilder<B>,
    ) -> Option<(Self, Proxy)> {
        let protocol = B::PROTOCOL.unwrap_or_else(|| panic!("{} has no wire", B::LABEL));
        let scratch = B::scratch().await?;
        let upstream = B::address(scratch.options()).expect("a server has an address");
        let proxy = Proxy::start(&upstream, protocol, shape).await;
        let options = B::through(scratch.options().clone(), proxy.port());
        let pool = pool(pool_options()).connect_lazy_with(options);
        let db = builder(Db::builder(pool)).build();
        Some((Self::over(scratch, db).await, proxy))
    }

    /// As [`proxied`](Self::proxied), with waits that are short enough for a test that shuts
    /// the proxy.
    ///
    /// # Panics
    ///
    /// On SQLite, which has no wire.
    pub async fn impatient(max: u32) -> Option<(Self, Proxy)> {
        let pool = |pool: PoolOptions<B>| pool.max_connections(max).acquire_timeout(IMPATIENCE);
        Self::build_proxied(Shape::WHOLE, pool, |builder| builder).await
    }

    async fn over(scratch: Scratch<B>, db: Db<B>) -> Self {
        let control = scratch.options().connect().await;
        let control =
            control.unwrap_or_else(|error| panic!("{}: no control connection: {error}", B::LABEL));
        Self {
            db,
            control: Mutex::new(control),
            scratch,
            settle_limit: SETTLE_LIMIT,
        }
    }

    /// With so much time for [`clean`](Self::clean), for a test that knows that the pool is not.
    #[must_use]
    pub fn settling_within(mut self, limit: Duration) -> Self {
        self.settle_limit = limit;
        self
    }

    /// The database's connect options, for pools and connections of the test's own.
    #[must_use]
    pub fn options(&self) -> &ConnectOptions<B> {
        self.scratch.options()
    }

    /// Inserts the row `id` into `t` through `&db`: in the scope it is called in.
    ///
    /// # Errors
    ///
    /// The statement's.
    pub async fn insert(&self, id: i64) -> Result<(), sqlx::Error> {
        let sql = format!("insert into t (id) values ({id})");
        B::exec(&self.db, &sql).await.map(drop)
    }

    /// The ids in `t` that the scope this is called in sees, sorted.
    ///
    /// # Errors
    ///
    /// The statement's.
    pub async fn visible(&self) -> Result<Vec<i64>, sqlx::Error> {
        B::ints(&self.db, "select id from t order by id").await
    }

    /// The committed ids in `t`, sorted, as the control connection sees them.
    ///
    /// # Panics
    ///
    /// If they cannot be read.
    pub async fn rows(&self) -> Vec<i64> {
        self.control_ints("select id from t order by id").await
    }

    /// Whether nobody holds a lock on the row `id`, asked without waiting. On SQLite: whether
    /// nobody is writing. PostgreSQL answers `true` for a row that is not committed yet.
    ///
    /// # Panics
    ///
    /// If the server cannot be asked.
    pub async fn free(&self, id: i64) -> bool {
        let mut control = self.control.lock().await;
        B::is_free(&mut control, id)
            .await
            .unwrap_or_else(|error| panic!("{}: free({id}): {error}", B::LABEL))
    }

    /// The connection that statements through `&db` run on, here and now: `pg_backend_pid()`,
    /// `connection_id()`, on SQLite a number of the harness's own.
    ///
    /// # Errors
    ///
    /// The statement's; outside of any scope that is a refusal.
    pub async fn pid(&self) -> Result<i64, sqlx::Error> {
        B::int(&self.db, B::PID).await
    }

    /// Ends the connection `pid` from the server's side.
    ///
    /// # Panics
    ///
    /// On SQLite, and if the server refuses.
    pub async fn kill(&self, pid: i64) {
        self.control_raw(&B::kill(pid)).await;
    }

    /// Ends every connection that the database has now, but the control connection, from the
    /// server's side, and waits until the server has.
    ///
    /// # Panics
    ///
    /// On SQLite, and if some do not end within a minute.
    pub async fn kill_all(&self) {
        let doomed = self.control_ints(B::CONNECTIONS).await;
        let deadline = Instant::now() + self.settle_limit;
        loop {
            let mut left = self.control_ints(B::CONNECTIONS).await;
            left.retain(|pid| doomed.contains(pid));
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{left:?} do not end");
            let mut control = self.control.lock().await;
            for pid in left {
                // It may have ended in between.
                drop(B::raw(B::on(&mut control), &B::kill(pid)).await);
            }
            drop(control);
            sleep(SETTLE_STEP).await;
        }
    }

    /// The connections that have the server's lock `key`.
    ///
    /// # Panics
    ///
    /// On SQLite, and if the server cannot be asked.
    pub async fn lock_holders(&self, key: &str) -> Vec<i64> {
        self.lock_holders_of(&[key]).await
    }

    /// As [`lock_holders`](Self::lock_holders), of any of several locks.
    ///
    /// # Panics
    ///
    /// On SQLite, and if the server cannot be asked.
    pub async fn lock_holders_of<K: AsRef<str>>(&self, keys: &[K]) -> Vec<i64> {
        let questions = keys
            .iter()
            .map(|key| B::lock_holders(&B::lock_name(key.as_ref())));
        let questions: Vec<String> = questions.collect();
        self.control_ints(&questions.join(" union all ")).await
    }

    /// Takes the server's lock `key` on the control connection, as another process would.
    ///
    /// # Panics
    ///
    /// On SQLite, and if the server refuses.
    pub async fn take_lock(&self, key: &str) {
        self.control_raw(&B::take_lock(&B::lock_name(key))).await;
    }

    /// Opens what [`take_lock`](Self::take_lock) has taken.
    ///
    /// # Panics
    ///
    /// On SQLite, and if the server refuses.
    pub async fn open_lock(&self, key: &str) {
        self.control_raw(&B::open_lock(&B::lock_name(key))).await;
    }

    /// Runs a statement on the control connection; gives the number of rows it changed.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub async fn control(&self, sql: &str) -> u64 {
        let mut control = self.control.lock().await;
        answered::<B, _>(sql, B::exec(B::on(&mut control), sql).await)
    }

    /// As [`control`](Self::control), unprepared and of any number of statements.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub async fn control_raw(&self, sql: &str) -> u64 {
        let mut control = self.control.lock().await;
        answered::<B, _>(sql, B::raw(B::on(&mut control), sql).await)
    }

    /// As [`control`](Self::control); gives the integers in the first column.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub async fn control_ints(&self, sql: &str) -> Vec<i64> {
        let mut control = self.control.lock().await;
        answered::<B, _>(sql, B::ints(B::on(&mut control), sql).await)
    }

    /// As [`control`](Self::control); gives the strings in the first column.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub async fn control_texts(&self, sql: &str) -> Vec<String> {
        let mut control = self.control.lock().await;
        answered::<B, _>(sql, B::texts(B::on(&mut control), sql).await)
    }

    /// How many connections to the database are inside a transaction, as the server sees it.
    ///
    /// PostgreSQL knows. MariaDB knows those that have run a statement in it; the pool's idle
    /// connections are asked themselves. On SQLite only the pool's idle connections count.
    ///
    /// # Panics
    ///
    /// If the server cannot be asked.
    pub async fn open_transactions(&self) -> usize {
        // A connection that both it itself and the server tell about is counted once.
        let mut inside = Vec::new();
        let mut silent = 0;
        for mut connection in self.idle_connections() {
            if timeout(self.settle_limit, B::is_inside(&mut connection))
                .await
                .unwrap_or(true)
            {
                match B::int(B::on(&mut connection), B::PID).await {
                    Ok(pid) => inside.push(pid),
                    Err(_) => silent += 1,
                }
            }
        }
        let mut control = self.control.lock().await;
        let seen = B::in_transaction(&mut control).await;
        inside.extend(seen.unwrap_or_else(|error| panic!("{}: {error}", B::LABEL)));
        inside.sort_unstable();
        inside.dedup();
        inside.len() + silent
    }

    /// What the server says about every connection to the database, a line for each.
    pub async fn server_view(&self) -> String {
        self.control_texts(B::SERVER_VIEW).await.join("\n")
    }

    /// Whether the pool is as every test must leave it; the error says what is not.
    ///
    /// After `drain`, and within a minute: every connection is back, no more than the pool
    /// may have, none inside a transaction; no lock of the server is left, where they can be
    /// listed; no scope is left in the task; and a scope works
    /// on each of the connections.
    ///
    /// # Errors
    ///
    /// What is wrong, with the server's view of it.
    pub async fn clean(&self) -> Result<(), String> {
        match self.check().await {
            Ok(()) => Ok(()),
            Err(wrong) => {
                let pool = self.db.pool();
                Err(format!(
                    "{}: {wrong}\npool: size {}, idle {}, max {}\nserver:\n{}",
                    B::LABEL,
                    pool.size(),
                    pool.num_idle(),
                    pool.options().get_max_connections(),
                    self.server_view().await
                ))
            }
        }
    }

    /// [`clean`](Self::clean), or a panic that says why not.
    ///
    /// # Panics
    ///
    /// If the pool is not as every test must leave it.
    pub async fn assert_clean(&self) {
        if let Err(wrong) = self.clean().await {
            panic!("the test left the pool unclean: {wrong}");
        }
    }

    /// Closes everything and drops the database; otherwise `Drop` does.
    pub async fn finish(self) {
        let Self {
            db,
            control,
            scratch,
            ..
        } = self;
        let closed = timeout(CLOSE_LIMIT, async {
            db.pool().close().await;
            control.into_inner().close().await
        });
        if closed.await.is_err() {
            eprintln!("tx-tests: {}: the pool does not close", B::LABEL);
        }
        scratch.finish().await;
    }

    async fn check(&self) -> Result<(), String> {
        let limit = self.settle_limit;
        timeout(limit, self.db.drain())
            .await
            .map_err(|_| format!("Db::drain did not end within {limit:?}"))?;
        if self.db.is_in_transaction() {
            return Err("the task is still in a scope".to_owned());
        }
        if self.db.pool().is_closed() {
            return Ok(());
        }
        let deadline = Instant::now() + limit;
        while let Err(wrong) = self.settled().await {
            if Instant::now() > deadline {
                return Err(wrong);
            }
            sleep(SETTLE_STEP).await;
        }
        self.every_connection_serves().await
    }

    async fn settled(&self) -> Result<(), String> {
        self.all_back()?;
        let open = self.open_transactions().await;
        // Looking has borrowed the connections.
        self.until("the pool settles", || self.all_back().is_ok())
            .await?;
        if open > 0 {
            return Err(format!("{open} connection(s) inside a transaction"));
        }
        if let Some(sql) = B::ALL_LOCK_HOLDERS {
            let holders = self.control_ints(sql).await;
            if !holders.is_empty() {
                return Err(format!("named locks are left with {holders:?}"));
            }
        }
        Ok(())
    }

    fn all_back(&self) -> Result<(), String> {
        let pool = self.db.pool();
        let (size, idle) = (pool.size(), pool.num_idle());
        if size as usize != idle {
            return Err("not every connection is back in the pool".to_owned());
        }
        if size > pool.options().get_max_connections() {
            return Err("the pool has more connections than it may".to_owned());
        }
        Ok(())
    }

    /// Leaves one connection at a time in the pool and runs a scope, which must take it.
    async fn every_connection_serves(&self) -> Result<(), String> {
        let pool = self.db.pool();
        let mut served = Vec::new();
        let mut waiting = self.idle_connections();
        while let Some(connection) = waiting.pop() {
            let before = pool.size();
            drop(connection);
            self.until("a connection comes back", || {
                pool.num_idle() > 0 || pool.size() < before
            })
            .await?;
            let scope = self.db.transaction(async || {
                B::int(&self.db, "select 1").await?;
                Ok::<_, tx_runtime::Error>(())
            });
            timeout(self.settle_limit, scope)
                .await
                .map_err(|_| "a scope on a pooled connection hangs".to_owned())?
                .map_err(|error| format!("a scope on a pooled connection fails: {error}"))?;
            self.until("a scope gives its connection back", || pool.num_idle() > 0)
                .await?;
            served.extend(self.idle_connections());
        }
        drop(served);
        self.until("the pool settles", || self.all_back().is_ok())
            .await
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + self.settle_limit;
        while !holds() {
            if Instant::now() > deadline {
                return Err(format!(
                    "waited {:?} in vain until {what}",
                    self.settle_limit
                ));
            }
            sleep(SETTLE_STEP).await;
        }
        Ok(())
    }

    fn idle_connections(&self) -> Vec<PoolConnection<B>> {
        std::iter::from_fn(|| self.db.pool().try_acquire()).collect()
    }
}

fn answered<B: Backend, T>(sql: &str, answer: Result<T, sqlx::Error>) -> T {
    answer.unwrap_or_else(|error| panic!("{}: control: `{sql}`: {error}", B::LABEL))
}

fn pool_options<B: Backend>() -> PoolOptions<B> {
    let pool = PoolOptions::new()
        .max_connections(POOL)
        .acquire_timeout(ACQUIRE_LIMIT);
    B::identified(pool)
}

impl<B: Backend> fmt::Debug for Bed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bed")
            .field("db", &self.db)
            .field("scratch", &self.scratch)
            .finish_non_exhaustive()
    }
}
