//! A connection at work for one transaction: one future that takes operations one by one.
//!
//! The future owns the connection from BEGIN to the end. It is made once per transaction,
//! and its memory goes on to the next one; an operation allocates nothing of its own.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio_util::sync::ReusableBoxFuture;

use crate::dialect::Dialect;
use crate::lease::Lease;
use crate::operation::{Operation, Report, Task, operate};

/// A session, running or spent.
pub(crate) struct Session<DB: Dialect> {
    running: ReusableBoxFuture<'static, Lease<DB>>,
    desk: Arc<Desk<DB>>,
}

/// What a poll of a session came to.
pub(crate) enum Progress<DB: Dialect> {
    /// The operation is over, and the session waits for the next one.
    Answered(Report<DB>),
    /// The operation is over, and it was the last one.
    Ended(Report<DB>, Lease<DB>),
}

impl<DB: Dialect> Session<DB> {
    /// A session over `lease`, in the memory of a spent one if there is one.
    pub(crate) fn open(lease: Lease<DB>, spent: Option<Self>) -> Self {
        if let Some(mut session) = spent {
            session.desk.clear();
            let work = work(lease, Arc::clone(&session.desk));
            session.running.set(work);
            session
        } else {
            let desk = Arc::new(Desk(Mutex::new(Paper::None)));
            Self {
                running: ReusableBoxFuture::new(work(lease, Arc::clone(&desk))),
                desk,
            }
        }
    }

    /// Hands in the next operation; [`poll`](Self::poll) runs it.
    pub(crate) fn hand_in(&self, operation: Operation<DB>) {
        *self.desk.paper() = Paper::Request(operation);
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Progress<DB>> {
        let ended = self.running.poll(cx);
        match (self.desk.take_report(), ended) {
            (Some(report), Poll::Pending) => Poll::Ready(Progress::Answered(report)),
            (Some(report), Poll::Ready(lease)) => Poll::Ready(Progress::Ended(report, lease)),
            (None, _) => Poll::Pending,
        }
    }
}

/// Where an operation is handed in and its report handed out.
struct Desk<DB: Dialect>(Mutex<Paper<DB>>);

enum Paper<DB: Dialect> {
    None,
    Request(Operation<DB>),
    Report(Report<DB>),
}

impl<DB: Dialect> Desk<DB> {
    fn paper(&self) -> MutexGuard<'_, Paper<DB>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear(&self) {
        *self.paper() = Paper::None;
    }

    async fn request(&self) -> Operation<DB> {
        // Whoever hands in a request polls the session next, so nobody has to be woken.
        poll_fn(|_| {
            let mut paper = self.paper();
            match std::mem::replace(&mut *paper, Paper::None) {
                Paper::Request(operation) => Poll::Ready(operation),
                other => {
                    *paper = other;
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn report(&self, report: Report<DB>) {
        *self.paper() = Paper::Report(report);
    }

    fn take_report(&self) -> Option<Report<DB>> {
        let mut paper = self.paper();
        match std::mem::replace(&mut *paper, Paper::None) {
            Paper::Report(report) => Some(report),
            other => {
                *paper = other;
                None
            }
        }
    }
}

async fn work<DB: Dialect>(mut lease: Lease<DB>, desk: Arc<Desk<DB>>) -> Lease<DB> {
    loop {
        let operation = desk.request().await;
        let step = Kind::of(&operation);
        let report = operate(&mut lease, operation).await;
        let last = step.is_last(&report);
        desk.report(report);
        if last {
            return lease;
        }
    }
}

/// What decides whether a session goes on after an operation.
enum Kind {
    Begin,
    Middle,
    End,
}

impl Kind {
    fn of<DB: Dialect>(operation: &Operation<DB>) -> Self {
        match operation {
            Operation::Task(
                Task::Begin { .. } | Task::BeginFenced { .. } | Task::BeginLocked { .. },
            ) => Self::Begin,
            Operation::Commit { .. } | Operation::Task(Task::RollBack) => Self::End,
            _ => Self::Middle,
        }
    }

    fn is_last<DB: Dialect>(&self, report: &Report<DB>) -> bool {
        match self {
            Self::End => true,
            Self::Begin => report.failure.is_some(),
            Self::Middle => report.is_connection_lost(),
        }
    }
}
