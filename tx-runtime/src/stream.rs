//! Row streams: `fetch` and `fetch_many` inside a scope and outside a transaction.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::future::BoxFuture;

use crate::autocommit::{Autocommit, give_back};
use crate::dialect::{Dialect, Step};
use crate::error::Error;
use crate::rows::Rows;
use crate::scope::Position;
use crate::statement::Prepared;
use crate::transaction::Transaction;

/// The rows of one statement of a transaction.
///
/// Between two rows the stream holds nothing: another statement of the transaction may come
/// in between, and then reads the rest of the rows into the stream's buffer first.
pub(crate) struct TransactionStream<DB: Dialect> {
    transaction: Arc<Transaction<DB>>,
    rows: Arc<Rows<DB>>,
    phase: Phase,
}

enum Phase {
    Starting(BoxFuture<'static, Result<(), sqlx::Error>>),
    Reading,
    /// Somebody else has the connection; what is under way on it may be this stream.
    Waiting(BoxFuture<'static, ()>),
}

impl<DB: Dialect> TransactionStream<DB> {
    pub(crate) fn new(position: Position<DB>, query: Prepared<DB>) -> Self {
        let rows = Arc::new(Rows::new());
        let transaction = Arc::clone(&position.transaction);
        let started = Arc::clone(&rows);
        let start = async move {
            position
                .transaction
                .start_stream(&position.level, position.function, query, started)
                .await
        };
        Self {
            transaction,
            rows,
            phase: Phase::Starting(Box::pin(start)),
        }
    }

    /// Moves on as far as possible; `Pending` when only waking can help.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.phase {
            Phase::Starting(start) => {
                let Poll::Ready(started) = start.as_mut().poll(cx) else {
                    return Poll::Pending;
                };
                if let Err(error) = started {
                    self.rows.fail(error);
                }
                self.phase = Phase::Reading;
            }
            Phase::Waiting(turn) => {
                if turn.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.phase = Phase::Reading;
            }
            Phase::Reading => return self.read(cx),
        }
        Poll::Ready(())
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut wire) = self.transaction.try_wire() else {
            let transaction = Arc::clone(&self.transaction);
            self.phase = Phase::Waiting(Box::pin(async move { transaction.settle().await }));
            return Poll::Ready(());
        };
        if !wire.advance_stream(&self.rows, cx) && !self.rows.has_ended() {
            let function = self.transaction.root().site();
            let closed = Error::TransactionClosed { function };
            self.rows.fail(closed.into_statement_error());
        }
        if self.rows.has_step() || self.rows.has_ended() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl<DB: Dialect> Stream for TransactionStream<DB> {
    type Item = Step<DB>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Step<DB>>> {
        loop {
            if let Some(step) = self.rows.pop() {
                return Poll::Ready(Some(step));
            }
            if self.rows.has_ended() {
                return Poll::Ready(None);
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
    autocommit: Arc<Autocommit<DB>>,
}

impl<DB: Dialect> AutocommitStream<DB> {
    pub(crate) fn new(autocommit: Autocommit<DB>, query: Prepared<DB>) -> Self {
        let autocommit = Arc::new(autocommit);
        let rows = Arc::new(Rows::new());
        let (from, into) = (Arc::clone(&autocommit), Arc::clone(&rows));
        let reading = async move {
            match from.lease(query.text()).await {
                Err(error) => into.fail(error),
                Ok(mut lease) => {
                    let failure = into.read(lease.use_connection(), query).await;
                    give_back(lease, failure.map(|failure| failure.fault));
                }
            }
        };
        Self {
            rows,
            reading: Some(Box::pin(reading)),
            started: false,
            autocommit,
        }
    }
}

impl<DB: Dialect> Stream for AutocommitStream<DB> {
    type Item = Step<DB>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Step<DB>>> {
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
            self.autocommit.source.cleanups().spawn(&runtime, reading);
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
    type Item = Step<DB>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Step<DB>>> {
        let error = self.error.take();
        Poll::Ready(error.map(|error| Err(error.into_statement_error())))
    }
}
