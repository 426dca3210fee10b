//! Row streams: `fetch` and `fetch_many` inside a scope and outside a transaction.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use sqlx::Either;

use crate::autocommit::{Autocommit, give_back, operate_until};
use crate::dialect::{self, Dialect};
use crate::error::Error;
use crate::level::Level;
use crate::operation::Operation;
use crate::prepared::Prepared;
use crate::rows::Rows;
use crate::scope::Position;
use crate::site::Site;
use crate::source::Source;
use crate::transaction::Turn;
use crate::wire::Step;

/// The rows of one statement of a transaction.
///
/// Between two rows the stream holds nothing: another statement of the transaction may come
/// in between, and then reads the rest of the rows into the stream's buffer first.
pub(crate) struct TransactionStream<DB: Dialect> {
    rows: Arc<Rows<DB>>,
    position: Position<DB>,
    phase: Phase<DB>,
}

enum Phase<DB: Dialect> {
    New(Prepared<DB>),
    Starting(BoxFuture<'static, ()>),
    Reading,
    /// Somebody else has the connection; what is under way on it may be this stream.
    Waiting(BoxFuture<'static, ()>),
}

impl<DB: Dialect> TransactionStream<DB> {
    pub(crate) fn new(position: Position<DB>, query: Prepared<DB>) -> Self {
        Self {
            position,
            rows: Arc::new(Rows::new()),
            phase: Phase::New(query),
        }
    }

    /// Starts the statement: at once where the transaction is ready for it, which needs no
    /// allocation, otherwise when its turn comes.
    fn start(&self, query: Prepared<DB>) -> Phase<DB> {
        let (level, function) = (Arc::clone(&self.position.level), self.position.function);
        let rows = Arc::clone(&self.rows);
        if let Some(wire) = self.position.ready_now() {
            start_stream(wire, &level, function, query, &rows);
            return Phase::Reading;
        }
        let transaction = Arc::clone(&self.position.transaction);
        let locks = self.position.locks.clone();
        Phase::Starting(Box::pin(async move {
            match transaction.ready(&level, function, &locks).await {
                Ok(wire) => start_stream(wire, &level, function, query, &rows),
                Err(error) => rows.fail(error),
            }
        }))
    }

    /// Moves on as far as possible; `Pending` when only waking can help.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.phase {
            Phase::New(_) => {
                if let Phase::New(query) = std::mem::replace(&mut self.phase, Phase::Reading) {
                    self.phase = self.start(query);
                    // A stream that is left lying about must not keep them shut.
                    self.position.locks.clear();
                }
            }
            Phase::Starting(turn) | Phase::Waiting(turn) => {
                if turn.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.phase = Phase::Reading;
            }
            Phase::Reading => return self.read(cx),
        }
        Poll::Ready(())
    }

    /// Gives up a place in the queue for the connection that is no longer needed.
    ///
    /// A stream is not polled while its consumer is busy elsewhere; a place kept until then
    /// would come to its turn unnoticed and keep everybody else from theirs.
    fn stop_waiting(&mut self) {
        if let Phase::Waiting(_) = self.phase {
            self.phase = Phase::Reading;
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut wire) = self.position.transaction.try_wire() else {
            let transaction = Arc::clone(&self.position.transaction);
            let (function, rows) = (self.position.function, Arc::clone(&self.rows));
            self.phase = Phase::Waiting(Box::pin(async move {
                if let Err(error) = transaction.settle(function).await {
                    rows.fail(error.into_statement_error());
                }
            }));
            return Poll::Ready(());
        };
        if !wire.advance_stream(&self.rows, cx) && !self.rows.has_ended() {
            let function = self.position.transaction.root().site();
            let closed = Error::TransactionClosed { function };
            self.rows.fail(closed.into_statement_error());
        }
        // Set before the wire is let go, so that whoever takes it next wakes this consumer.
        let ready = self.rows.has_step() || self.rows.has_ended();
        self.rows.set_consumer((!ready).then(|| cx.waker()));
        drop(wire);
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Nothing in it is pinned in place.
impl<DB: Dialect> Unpin for TransactionStream<DB> {}

fn start_stream<DB: Dialect>(
    mut wire: Turn<'_, DB>,
    level: &Arc<Level>,
    function: Site,
    query: Prepared<DB>,
    rows: &Arc<Rows<DB>>,
) {
    let step = Step::Stream {
        level: Arc::clone(level),
        function,
        rows: Arc::clone(rows),
    };
    if let Err(error) = wire.start(step, Operation::Stream(query, Arc::clone(rows))) {
        rows.fail(error);
    }
}

impl<DB: Dialect> Stream for TransactionStream<DB> {
    type Item = dialect::Step<DB>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<dialect::Step<DB>>> {
        loop {
            let step = self.rows.pop();
            if step.is_some() || self.rows.has_ended() {
                self.stop_waiting();
                return Poll::Ready(step);
            }
            if self.advance(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl<DB: Dialect> Drop for TransactionStream<DB> {
    fn drop(&mut self) {
        self.rows.abandon();
    }
}

/// The rows of one statement in autocommit.
pub(crate) struct AutocommitStream<DB: Dialect> {
    rows: Arc<Rows<DB>>,
    reading: Option<BoxFuture<'static, ()>>,
    started: bool,
    source: Arc<Source<DB>>,
}

impl<DB: Dialect> AutocommitStream<DB> {
    pub(crate) fn new(autocommit: Autocommit<DB>, query: Prepared<DB>) -> Self {
        let source = Arc::clone(&autocommit.source);
        let rows = Arc::new(Rows::new());
        let into = Arc::clone(&rows);
        let reading = async move {
            let orphans = autocommit.locks.iter().map(|held| held.orphan());
            let _orphans: Vec<_> = orphans.collect();
            match autocommit.lease(query.text()).await {
                Err(error) => into.fail(error),
                Ok(mut lease) => {
                    let operation = Operation::Stream(query, into);
                    let Autocommit {
                        source, deadline, ..
                    } = &autocommit;
                    let report = operate_until(*deadline, source, &mut lease, operation).await;
                    give_back(lease, report.failure.map(|failure| failure.fault));
                }
            }
        };
        Self {
            rows,
            reading: Some(Box::pin(reading)),
            started: false,
            source,
        }
    }
}

impl<DB: Dialect> Stream for AutocommitStream<DB> {
    type Item = dialect::Step<DB>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<dialect::Step<DB>>> {
        self.started = true;
        if let Some(step) = self.rows.pop() {
            return Poll::Ready(Some(step));
        }
        if let Some(reading) = &mut self.reading
            && reading.as_mut().poll(cx).is_ready()
        {
            self.reading = None;
        }
        match self.rows.pop() {
            Some(step) => Poll::Ready(Some(step)),
            None if self.reading.is_none() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl<DB: Dialect> Drop for AutocommitStream<DB> {
    fn drop(&mut self) {
        self.rows.abandon();
        if self.started
            && let Some(reading) = self.reading.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            self.source.cleanups().spawn(&runtime, reading);
        }
    }
}

/// The one item of a stream whose statement was refused.
pub(crate) struct RefusedStream<DB> {
    error: Option<Error>,
    database: PhantomData<fn() -> DB>,
}

impl<DB> RefusedStream<DB> {
    pub(crate) fn new(error: Error) -> Self {
        Self {
            error: Some(error),
            database: PhantomData,
        }
    }
}

impl<DB: Dialect> Stream for RefusedStream<DB> {
    type Item = dialect::Step<DB>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<dialect::Step<DB>>> {
        let error = self.error.take();
        Poll::Ready(error.map(|error| Err(error.into_statement_error())))
    }
}

/// The rows of a stream without the summaries between them.
pub(crate) struct RowsOnly<S>(pub(crate) S);

impl<DB: Dialect, S> Stream for RowsOnly<S>
where
    S: Stream<Item = dialect::Step<DB>> + OfDatabase<Database = DB> + Unpin,
{
    type Item = Result<DB::Row, sqlx::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let step = ready!(Pin::new(&mut self.0).poll_next(cx));
            match step {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(Either::Right(row))) => return Poll::Ready(Some(Ok(row))),
                Some(Ok(Either::Left(_))) => {}
            }
        }
    }
}

/// Names the database of a stream, which its item type alone does not determine.
pub(crate) trait OfDatabase {
    type Database: Dialect;
}

impl<DB: Dialect> OfDatabase for TransactionStream<DB> {
    type Database = DB;
}

impl<DB: Dialect> OfDatabase for AutocommitStream<DB> {
    type Database = DB;
}

impl<DB: Dialect> OfDatabase for RefusedStream<DB> {
    type Database = DB;
}
