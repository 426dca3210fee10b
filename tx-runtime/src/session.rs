//! A connection at work for one transaction, one operation after the other.
//!
//! An operation takes the connection and gives it back at its end. Its future lives here, in
//! memory that goes on to the next operation and to the next transaction, so that it allocates
//! nothing of its own.

use std::task::{Context, Poll, ready};

use tokio_util::sync::ReusableBoxFuture;

use crate::dialect::Dialect;
use crate::lease::Lease;
use crate::operation::{Operation, Report, Task, operate};
use crate::prepared::Prepared;
use crate::statement::{self, Want};

/// A session, running or spent.
pub(crate) struct Session<DB: Dialect> {
    /// `None` while an operation has it; empty in a spent session.
    seat: Option<Seat<DB>>,
    under_way: Option<Kind>,
    /// Whether the operation that ended last was the last one of its transaction.
    is_over: bool,
    /// Of statements, which are many, and small beside the rest.
    statements: Memory<DB>,
    others: Memory<DB>,
}

impl<DB: Dialect> Session<DB> {
    /// A session over `lease`, in the memory of a spent one if there is one.
    pub(crate) fn open(lease: Lease<DB>, spent: Option<Self>) -> Self {
        let mut session = spent.unwrap_or_else(|| Self {
            seat: None,
            under_way: None,
            is_over: false,
            statements: Memory(None),
            others: Memory(None),
        });
        let seat = session.seat.get_or_insert_with(|| Seat(Box::default()));
        seat.0.lease = Some(lease);
        session
    }

    /// Hands in the next operation; [`poll`](Self::poll) runs it.
    pub(crate) fn hand_in(&mut self, operation: Operation<DB>) {
        match operation {
            Operation::Run(query, want) => self.run(query, want),
            operation => {
                self.under_way = Some(Kind::of(&operation));
                let mut seat = self.seat.take().expect(AT_HOME);
                seat.0.operation = Some(operation);
                self.others.hold(other(seat));
            }
        }
    }

    /// Hands in a statement.
    #[inline]
    pub(crate) fn run(&mut self, query: Prepared<DB>, want: Want) {
        self.under_way = Some(Kind::Statement);
        let mut seat = self.seat.take().expect(AT_HOME);
        seat.0.statement = Some((query, want));
        self.statements.hold(statement(seat));
    }

    /// Runs the operation under way.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Report<DB>> {
        let Some(kind) = self.under_way else {
            return Poll::Pending;
        };
        let memory = match kind {
            Kind::Statement => &mut self.statements,
            Kind::Begin | Kind::Middle | Kind::End => &mut self.others,
        };
        let (seat, report) = ready!(memory.poll(cx));
        self.seat = Some(seat);
        self.under_way = None;
        self.is_over = kind.is_last(&report);
        Poll::Ready(report)
    }

    /// Whether the operation that has just ended was the last one of the transaction.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The connection, after the last operation.
    pub(crate) fn leave(&mut self) -> Option<Lease<DB>> {
        self.seat.as_mut().and_then(|seat| seat.0.lease.take())
    }
}

/// Where a connection sits, whichever operation has it.
struct Seat<DB: Dialect>(Box<Place<DB>>);

struct Place<DB: Dialect> {
    lease: Option<Lease<DB>>,
    // What is to be done next. Here, it is moved once; in a future, whenever that is.
    statement: Option<(Prepared<DB>, Want)>,
    operation: Option<Operation<DB>>,
}

impl<DB: Dialect> Default for Place<DB> {
    fn default() -> Self {
        Self {
            lease: None,
            statement: None,
            operation: None,
        }
    }
}

const AT_HOME: &str = "an idle session has its seat";

const HANDED_IN: &str = "what is begun was handed in";

const SEATED: &str = "a session that goes on has its connection";

impl<DB: Dialect> Seat<DB> {
    fn lease(&mut self) -> &mut Lease<DB> {
        self.0.lease.as_mut().expect(SEATED)
    }
}

/// Runs the statement that waits at the seat.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` has room for its arguments twice"
)]
fn statement<DB: Dialect>(
    mut seat: Seat<DB>,
) -> impl Future<Output = (Seat<DB>, Report<DB>)> + Send + 'static {
    async move {
        let (query, want) = seat.0.statement.take().expect(HANDED_IN);
        let connection = seat.lease().use_connection();
        let result = statement::run::<DB>(connection, query, want).await;
        let report = match result {
            Ok(answer) => Report::success(answer),
            Err(error) => Box::pin(Report::failed_statement(seat.lease(), error)).await,
        };
        (seat, report)
    }
}

/// Carries out the operation that waits at the seat.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` has room for its arguments twice"
)]
fn other<DB: Dialect>(
    mut seat: Seat<DB>,
) -> impl Future<Output = (Seat<DB>, Report<DB>)> + Send + 'static {
    async move {
        let operation = seat.0.operation.take().expect(HANDED_IN);
        let report = operate(seat.lease(), operation).await;
        (seat, report)
    }
}

/// The memory of one operation's future after the other.
struct Memory<DB: Dialect>(Option<ReusableBoxFuture<'static, (Seat<DB>, Report<DB>)>>);

impl<DB: Dialect> Memory<DB> {
    fn hold(&mut self, operation: impl Future<Output = (Seat<DB>, Report<DB>)> + Send + 'static) {
        match &mut self.0 {
            Some(memory) => memory.set(operation),
            None => self.0 = Some(ReusableBoxFuture::new(operation)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Seat<DB>, Report<DB>)> {
        match &mut self.0 {
            Some(memory) => memory.poll(cx),
            None => Poll::Pending,
        }
    }
}

/// What decides where an operation runs, and whether a session goes on after it.
#[derive(Clone, Copy)]
enum Kind {
    Statement,
    Begin,
    Middle,
    End,
}

impl Kind {
    fn of<DB: Dialect>(operation: &Operation<DB>) -> Self {
        match operation {
            Operation::Run(..) => Self::Statement,
            Operation::Task(
                Task::Begin { .. } | Task::BeginFenced { .. } | Task::BeginLocked { .. },
            ) => Self::Begin,
            Operation::Commit { .. } | Operation::Task(Task::RollBack) => Self::End,
            Operation::Stream(..) | Operation::Task(_) => Self::Middle,
        }
    }

    fn is_last<DB: Dialect>(self, report: &Report<DB>) -> bool {
        match self {
            Self::End => true,
            Self::Begin => report.failure.is_some(),
            Self::Statement | Self::Middle => report.is_connection_lost(),
        }
    }
}
