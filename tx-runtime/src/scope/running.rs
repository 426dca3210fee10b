//! A body in its scope: enter, run, leave, and what is due after that.

use std::pin::pin;
use std::sync::Arc;

use futures_core::future::BoxFuture;
use tokio::time::Instant;

use super::ending::{Ending, Intent, Meant};
use super::{Position, Scope, locked, own_deadline};
use crate::aftermath::{self, Aftermath};
use crate::chain;
use crate::deadline::{self, Deadline};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::lock::{Bound, Conclusion};
use crate::options::TransactionOptions;
use crate::propagation::Entry;
use crate::result::TransactionResult;
use crate::rules::{RuledOptions, Rules};
use crate::source::Source;

const REJECTED: &str = "it returned a value that its `rollback_if` rejects";

/// Runs `body` in a scope of `source`.
///
/// This is all there is to `#[transactional]` and `Db::transaction`: enter, run, leave. It
/// is kept small, since it is compiled once for every body.
pub(crate) async fn run<DB, R, F>(
    source: &Arc<Source<DB>>,
    options: RuledOptions<R::Ok, R::Error>,
    body: F,
) -> R
where
    DB: Dialect,
    R: TransactionResult,
    F: AsyncFnOnce() -> R,
{
    let RuledOptions { options, rules } = options;
    let scope = match Scope::enter(source, &options) {
        Ok(scope) => scope,
        Err(refused) => return R::from_result(Err(refused.into())),
    };
    let lived = live(scope, rules, body, false).await;
    aftermath::settle(lived.aftermath).await;
    lived.result
}

/// As [`run`], under `lock`: it is open, or on its way there, when this returns.
pub(crate) async fn run_locked<DB, R, F>(
    source: &Arc<Source<DB>>,
    lock: Bound,
    options: RuledOptions<R::Ok, R::Error>,
    body: F,
) -> R
where
    DB: Dialect,
    R: TransactionResult,
    F: AsyncFnOnce() -> R,
{
    let RuledOptions { mut options, rules } = options;
    options.since.get_or_insert_with(Instant::now);
    let deadline = deadline_to_be(source, &options);
    // What is in a box anyway has its type hidden, so that callers are spared its depth.
    let mut entered: BoxFuture<'_, _> = Box::pin(locked::enter(source, &options, lock));
    let entered = deadline::race(deadline, entered.as_mut()).await;
    let entered = entered.unwrap_or_else(|late| {
        let doom = late.doom();
        Err(Error::timed_out(options.site, &doom))
    });
    let (scope, doing) = match entered {
        Ok(entered) => entered,
        Err(refused) => return R::from_result(Err(refused.into())),
    };
    let lived = live(scope, rules, body, doing.is_some()).await;
    let held = doing
        .zip(lived.conclusion)
        .and_then(|(doing, conclusion)| doing.ended(conclusion));
    if let Some(held) = held {
        // What was committed stays so; a lock that cannot be opened is on record.
        let _ = held.open(options.site).await;
    }
    aftermath::settle(lived.aftermath).await;
    lived.result
}

/// The end of the time of a scope that is yet to be entered.
pub(super) fn deadline_to_be<DB: Dialect>(
    source: &Source<DB>,
    options: &TransactionOptions,
) -> Option<Deadline> {
    let position = chain::current(|frame| Position::nearest(source, frame));
    let entry = options.propagation.entry(position.is_some());
    let begins = matches!(entry, Entry::Begin | Entry::BeginUnderLock);
    own_deadline(source, options, begins)
}

/// What a body in its scope has come to.
pub(super) struct Lived<R> {
    pub(super) result: R,
    /// What is due now.
    pub(super) aftermath: Option<Aftermath>,
    pub(super) ending: Ending,
    /// What a lock around it is told, if it is to be told.
    conclusion: Option<Conclusion>,
}

/// The body in its scope, to the end of both; what is due then is left to the caller.
/// `concludes`: a lock around it has to be told how it has ended.
pub(super) async fn live<DB, R, F>(
    mut scope: Scope<DB>,
    rules: Rules<R::Ok, R::Error>,
    body: F,
    concludes: bool,
) -> Lived<R>
where
    DB: Dialect,
    R: TransactionResult,
    F: AsyncFnOnce() -> R,
{
    let alarm = scope.trace.alarm(&scope.frame);
    let trace = scope.trace.clone();
    let (result, conclusion) = trace
        .cover(alarm, pin!(lived(&mut scope, rules, body, concludes)))
        .await;
    Lived {
        result,
        aftermath: scope.aftermath(),
        ending: scope.ending,
        conclusion,
    }
}

async fn lived<DB, R, F>(
    scope: &mut Scope<DB>,
    rules: Rules<R::Ok, R::Error>,
    body: F,
    concludes: bool,
) -> (R, Option<Conclusion>)
where
    DB: Dialect,
    R: TransactionResult,
    F: AsyncFnOnce() -> R,
{
    let ended = {
        let body = pin!(chain::within(&scope.frame, body));
        let body = pin!(scope.panics.over(body));
        deadline::race(scope.deadline, body).await
    };
    let result = match ended {
        Ok(result) => result.into_result(),
        Err(deadline) => {
            let late: BoxFuture<'_, _> = Box::pin(scope.time_out(deadline));
            let late = late.await;
            scope.ending = Ending::Final;
            let conclusion = concludes.then(|| Conclusion::Failed(late.to_string()));
            return (R::from_result(Err(late.into())), conclusion);
        }
    };
    let intent = match &result {
        Ok(value) if rules.rejects(value) => Intent::GiveUp(REJECTED.to_owned()),
        Ok(_) => Intent::Keep(Meant::Ok),
        Err(error) if rules.commits(error) => Intent::Keep(Meant::Kept(rules.describe(error))),
        Err(error) => Intent::GiveUp(if scope.is_participant() {
            rules.describe(error)
        } else {
            String::new()
        }),
    };
    let kept = matches!(intent, Intent::Keep(_));
    let left = scope.leave(intent).await;
    let conclusion = concludes.then(|| match (&left, &result) {
        (Err(error), _) => Conclusion::Failed(error.to_string()),
        (Ok(()), Err(error)) if !kept => Conclusion::Failed(rules.describe(error)),
        (Ok(()), Ok(_)) if !kept => Conclusion::Failed(REJECTED.to_owned()),
        (Ok(()), _) => Conclusion::Done,
    });
    let result = match left {
        Ok(()) => result,
        Err(error) => Err(error.into()),
    };
    (R::from_result(result), conclusion)
}
