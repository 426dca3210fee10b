//! Rows between the connection that reads them and the stream that hands them out.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::dialect::{Dialect, Step};
use crate::prepared::Prepared;
use crate::statement::Failure;

/// How many unread rows another statement may push aside before the stream is cut off.
const KEPT_ROWS: usize = 100_000;

/// What the reader of a stream's rows is after.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Demand {
    /// A row at a time, as the consumer asks.
    Next,
    /// Everything, since another statement waits for the connection.
    All,
    /// Nothing more: the consumer is gone.
    Nothing,
}

/// The shared buffer of one open stream.
pub(crate) struct Rows<DB: Dialect>(Mutex<State<DB>>);

struct State<DB: Dialect> {
    /// The next step; only when another statement pushes the rows aside are there more.
    next: Option<Step<DB>>,
    rest: VecDeque<Step<DB>>,
    demand: Demand,
    ended: bool,
    /// The consumer, while it waits for what somebody else may read.
    consumer: Option<Waker>,
}

impl<DB: Dialect> State<DB> {
    fn push(&mut self, step: Step<DB>) {
        if self.next.is_none() {
            self.next = Some(step);
        } else {
            self.rest.push_back(step);
        }
    }

    fn pop(&mut self) -> Option<Step<DB>> {
        let step = self.next.take();
        self.next = self.rest.pop_front();
        step
    }
}

impl<DB: Dialect> Rows<DB> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            next: None,
            rest: VecDeque::new(),
            demand: Demand::Next,
            ended: false,
            consumer: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State<DB>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pop(&self) -> Option<Step<DB>> {
        self.state().pop()
    }

    pub(crate) fn has_step(&self) -> bool {
        self.state().next.is_some()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Ends the stream with an error that no statement caused.
    pub(crate) fn fail(&self, error: sqlx::Error) {
        let mut state = self.state();
        state.push(Err(error));
        state.ended = true;
    }

    /// Has the rest read into the buffer, so that the connection comes free.
    ///
    /// Whoever reads polls with a waker of its own; the guard wakes the consumer when that
    /// reader has come to an end or is dropped.
    pub(crate) fn read_all(self: &Arc<Self>) -> WakeConsumer<DB> {
        let mut state = self.state();
        if state.demand == Demand::Next {
            state.demand = Demand::All;
        }
        WakeConsumer(Arc::clone(self))
    }

    /// Notes who waits, or that nobody does.
    pub(crate) fn set_consumer(&self, consumer: Option<&Waker>) {
        self.state().consumer = consumer.cloned();
    }

    fn wake_consumer(&self) {
        let consumer = self.state().consumer.take();
        if let Some(consumer) = consumer {
            consumer.wake();
        }
    }

    /// The consumer is gone; reading stops at the next row.
    pub(crate) fn abandon(&self) {
        let mut state = self.state();
        state.demand = Demand::Nothing;
        state.next = None;
        state.rest.clear();
    }

    /// Runs `query` and hands its rows over as they are asked for.
    ///
    /// The consumer gets the statement's error itself, the caller what it means.
    pub(crate) async fn read(
        &self,
        connection: &mut DB::Connection,
        query: Prepared<DB>,
    ) -> Option<Failure> {
        let mut failed = None;
        let mut steps = DB::fetch_many(connection, query);
        // MySQL's driver, dropped right behind a summary, would wait for another one.
        let mut behind_summary = false;
        while self.wanted().await || behind_summary {
            match poll_fn(|cx| steps.as_mut().poll_next(cx)).await {
                None => break,
                Some(Ok(step)) => {
                    behind_summary = step.is_left();
                    self.push(Ok(step));
                }
                Some(Err(error)) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(steps);
        let failure = match failed {
            None => None,
            Some(error) => {
                let failure = Failure::confirmed::<DB>(&error, connection).await;
                // Last, so that the consumer finds its scope doomed when it sees the error.
                self.push(Err(error));
                Some(failure)
            }
        };
        self.state().ended = true;
        failure
    }

    fn push(&self, step: Step<DB>) {
        let mut state = self.state();
        if state.demand != Demand::Nothing {
            state.push(step);
        }
        if state.demand == Demand::All && state.rest.len() >= KEPT_ROWS {
            state.push(Err(sqlx::Error::Protocol(format!(
                "another statement of the same transaction needed the connection while this stream \
                 had more than {KEPT_ROWS} unread rows; read it to its end or use fetch_all first"
            ))));
            state.demand = Demand::Nothing;
        }
    }

    /// Waits until a further row is asked for; `false` when none will be.
    async fn wanted(&self) -> bool {
        poll_fn(|_| {
            let state = self.state();
            match state.demand {
                Demand::Nothing => Poll::Ready(false),
                Demand::All => Poll::Ready(true),
                // Whoever polls this has looked into the buffer before, and polls again
                // when it is empty; so nobody needs to be woken.
                Demand::Next if state.next.is_none() => Poll::Ready(true),
                Demand::Next => Poll::Pending,
            }
        })
        .await
    }
}

/// Wakes a stream's consumer when it is dropped.
pub(crate) struct WakeConsumer<DB: Dialect>(Arc<Rows<DB>>);

impl<DB: Dialect> Drop for WakeConsumer<DB> {
    fn drop(&mut self) {
        self.0.wake_consumer();
    }
}
