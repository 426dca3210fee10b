//! Statements outside a transaction, each on a connection of its own.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;

use crate::cleanup::SeenThrough;
use crate::deadline::{self, Deadline};
use crate::dialect::{Dialect, Fault};
use crate::error::Error;
use crate::interrupt;
use crate::lease::Lease;
use crate::lending;
use crate::lock::Held;
use crate::operation::{Operation, Report, operate};
use crate::own_writes;
use crate::site::Site;
use crate::source::{Holding, Purpose, Source};
use crate::statement::{Answer, Failure};

/// The pool, as a scope without a transaction sees it.
pub(crate) struct Autocommit<DB: Dialect> {
    pub(crate) source: Arc<Source<DB>>,
    pub(crate) function: Site,
    /// What the chain's suspended transactions hold meanwhile.
    pub(crate) holding: Holding,
    /// What the chain has locked; a statement that outlives its caller keeps it locked.
    pub(crate) locks: Vec<Arc<Held>>,
    /// The end of the time of the scopes around it.
    pub(crate) deadline: Option<Deadline>,
}

impl<DB: Dialect> Autocommit<DB> {
    pub(crate) async fn lease(&self, sql: &str) -> Result<Lease<DB>, sqlx::Error> {
        let purpose = if self.holding.innermost.is_some() && DB::reads_only(sql) {
            Purpose::Read
        } else {
            Purpose::Write
        };
        if self.source.replica().is_some() {
            own_writes::note(self.source.id());
        }
        let pool = self
            .source
            .lease_for_statement(self.function, purpose, &self.holding);
        lending::lease(self.source.id(), &self.locks, pool)
            .await
            .map_err(Error::into_statement_error)
    }

    /// Runs an operation on a connection and sees it through even if the caller is gone.
    pub(crate) async fn run(self, operation: Operation<DB>) -> Result<Answer<DB>, sqlx::Error> {
        let mut lease = self.lease(operation.sql()).await?;
        let runtime = lease.runtime().clone();
        let cleanups = Arc::clone(self.source.cleanups());
        let Self {
            source,
            locks,
            deadline,
            ..
        } = self;
        let orphans: Vec<_> = locks.iter().map(|held| held.orphan()).collect();
        let work = async move {
            let Report {
                result, failure, ..
            } = operate_until(deadline, &source, &mut lease, operation).await;
            give_back(lease, failure.map(|failure| failure.fault));
            drop(orphans);
            drop(locks);
            result
        };
        // A driver whose protocol was cut off in the middle of a message leaves the connection
        // out of step with the server, and the pool would wait for it for ever.
        SeenThrough::new(cleanups, runtime, work).await
    }
}

/// Does it, and has it stopped if it is still under way when the time is over, whoever waits for
/// it then.
pub(crate) async fn operate_until<DB: Dialect>(
    deadline: Option<Deadline>,
    source: &Source<DB>,
    lease: &mut Lease<DB>,
    operation: Operation<DB>,
) -> Report<DB> {
    match deadline {
        None => operate(lease, operation).await,
        // In a box, so that statements without a limit have no room for it.
        Some(deadline) => Box::pin(operate_in_time(deadline, source, lease, operation)).await,
    }
}

async fn operate_in_time<DB: Dialect>(
    deadline: Deadline,
    source: &Source<DB>,
    lease: &mut Lease<DB>,
    operation: Operation<DB>,
) -> Report<DB> {
    let backend = match DB::bind(lease.use_connection(), None).await {
        Ok(backend) => backend,
        Err(error) => return not_done(operation, error),
    };
    let mut report = {
        let mut work = pin!(operate(lease, operation));
        if let Ok(report) = deadline::race(Some(deadline), work.as_mut()).await {
            report
        } else {
            interrupt::interrupt(source.pool(), backend, ready(())).await;
            work.await
        }
    };
    if let Err(error) = DB::unbind(lease.use_connection()).await {
        report.failure.get_or_insert(Failure::of::<DB>(&error));
    }
    report
}

fn not_done<DB: Dialect>(operation: Operation<DB>, error: sqlx::Error) -> Report<DB> {
    let failure = Failure::of::<DB>(&error);
    let result = match operation {
        Operation::Stream(_, rows) => {
            rows.fail(error);
            Ok(Answer::default())
        }
        _ => Err(error),
    };
    Report {
        result,
        failure: Some(failure),
        completion: None,
    }
}

/// Returns a connection after a statement, unless its error says that it is broken.
pub(crate) fn give_back<DB: Dialect>(mut lease: Lease<DB>, fault: Option<Fault>) {
    if fault != Some(Fault::Connection) {
        lease.mark_clean();
    }
}
