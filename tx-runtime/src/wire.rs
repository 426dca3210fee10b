//! A transaction's connection and what is under way on it.
//!
//! Everything that talks to the server runs in the transaction's *session*: the future of an
//! operation, which has the connection meanwhile, lives here and not in the call that asked
//! for something. The call polls it in place. If the call is dropped half-way, what it asked
//! for stays under way, and whoever uses the connection next (the next statement, or the
//! clean-up of the scope) first sees it through to its end. So no message is ever cut off in
//! the middle, nothing is spawned for a statement, and the connection's state is always known.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use crate::cause::{Cause, CauseKind, Doom};
use crate::chain::Physical;
use crate::dialect::{Dialect, Fault};
use crate::hook::Completion;
use crate::journal::{Act, Journal};
use crate::lease::Lease;
use crate::level::Level;
use crate::lock::Held;
use crate::operation::{Operation, Report, Task};
use crate::prepared::Prepared;
use crate::rows::Rows;
use crate::session::Session;
use crate::site::Site;
use crate::statement::{Answer, Failure, Want};

/// The state of one transaction's connection, behind the transaction's async mutex.
pub(crate) struct Wire<DB: Dialect> {
    tolerant: bool,
    line: Line<DB>,
    /// Running while the line is idle or busy, spent otherwise. At the end it has the connection
    /// until that is [taken](Self::take_ended).
    session: Option<Session<DB>>,
    /// Savepoints that exist on the server, outermost first.
    savepoints: Vec<Arc<Level>>,
    /// What became of the transaction, once COMMIT was answered.
    completion: Option<Completion>,
    journal: Journal,
}

enum Line<DB: Dialect> {
    Unused,
    Idle,
    Busy(Step<DB>),
    Over,
}

/// What an operation does, and for whom.
pub(crate) enum Step<DB: Dialect> {
    Begin(Option<Taking>),
    Lock {
        level: Arc<Level>,
        function: Site,
        taking: Taking,
    },
    Statement {
        level: Arc<Level>,
        function: Site,
    },
    Stream {
        level: Arc<Level>,
        function: Site,
        rows: Arc<Rows<DB>>,
    },
    OpenSavepoint(Arc<Level>),
    Release(Arc<Level>),
    RollBackTo(Arc<Level>),
    Commit,
    RollBack,
}

/// A lock on its way to a transaction, on the transaction's own connection: whoever sees the
/// answer hands it over, be it that the caller is gone.
#[derive(Clone, Debug)]
pub(crate) struct Taking {
    pub(crate) held: Arc<Held>,
    /// Weak, because this may lie in the transaction's own wire.
    pub(crate) transaction: Weak<dyn Physical>,
}

impl Taking {
    fn succeed(self) {
        if let Some(transaction) = self.transaction.upgrade() {
            transaction.adopted().adopt_own(self.held);
        }
    }
}

impl<DB: Dialect> Step<DB> {
    /// `the_bodys`: a statement that the body wants to run.
    fn act(&self, the_bodys: bool) -> Act {
        match self {
            Self::Begin(_) => Act::Begin,
            Self::OpenSavepoint(level) => Act::Savepoint(level.site()),
            Self::Release(level) => Act::Release(level.site()),
            Self::RollBackTo(level) => Act::RollBackTo(level.site()),
            Self::Commit => Act::Commit,
            Self::RollBack => Act::RollBack,
            Self::Statement { .. } | Self::Stream { .. } if the_bodys => Act::Statement,
            Self::Statement { .. } | Self::Stream { .. } | Self::Lock { .. } => Act::Preparation,
        }
    }
}

impl<DB: Dialect> Wire<DB> {
    /// `tolerant`: a failed statement does not doom its scope.
    pub(crate) fn new(tolerant: bool, spent: Option<Session<DB>>, journal: Journal) -> Self {
        Self {
            tolerant,
            line: Line::Unused,
            session: spent,
            savepoints: Vec::new(),
            completion: None,
            journal,
        }
    }

    pub(crate) fn is_unused(&self) -> bool {
        matches!(self.line, Line::Unused)
    }

    /// Ends the transaction without a word: closes the connection, if there is one, and
    /// keeps anything from beginning later.
    pub(crate) fn discard(&mut self) {
        let line = std::mem::replace(&mut self.line, Line::Over);
        if matches!(line, Line::Idle | Line::Busy(_)) {
            self.session = None;
            self.journal.cut_off();
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.line, Line::Busy(_))
    }

    pub(crate) fn is_taking_locks(&self) -> bool {
        matches!(
            self.line,
            Line::Busy(Step::Begin(Some(_)) | Step::Lock { .. })
        )
    }

    pub(crate) fn is_committing(&self) -> bool {
        matches!(self.line, Line::Busy(Step::Commit))
    }

    /// Whether what is under way may be stopped half-way.
    pub(crate) fn is_stoppable(&self) -> bool {
        matches!(
            &self.line,
            Line::Busy(Step::Statement { .. } | Step::Stream { .. })
        )
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.line, Line::Idle)
    }

    /// Takes the connection of a transaction that has ended.
    pub(crate) fn take_ended(&mut self) -> Option<Lease<DB>> {
        match self.line {
            Line::Over => self.session.as_mut()?.leave(),
            _ => None,
        }
    }

    /// Takes the spent session of a transaction that has ended, for the next one.
    pub(crate) fn take_spent(&mut self) -> Option<Session<DB>> {
        drop(self.take_ended());
        match self.line {
            Line::Over => self.session.take(),
            _ => None,
        }
    }

    /// What became of the transaction, if COMMIT was sent and answered.
    pub(crate) fn completion(&self) -> Option<Completion> {
        self.completion
    }

    pub(crate) fn innermost_savepoint(&self) -> Option<&Arc<Level>> {
        self.savepoints.last()
    }

    pub(crate) fn has_open(&self, level: &Arc<Level>) -> bool {
        self.savepoints.iter().any(|open| Arc::ptr_eq(open, level))
    }

    /// Starts an operation on the idle connection; [`finish`](Self::finish) runs it.
    pub(crate) fn start(
        &mut self,
        step: Step<DB>,
        operation: Operation<DB>,
    ) -> Result<(), sqlx::Error> {
        let session = idle(&self.line, &mut self.session)?;
        self.journal.before(step.act(operation.is_the_bodys()));
        session.hand_in(operation);
        self.line = Line::Busy(step);
        Ok(())
    }

    /// As [`start`](Self::start), for a statement of the body.
    #[inline]
    pub(crate) fn start_statement(
        &mut self,
        level: Arc<Level>,
        function: Site,
        query: Prepared<DB>,
        want: Want,
    ) -> Result<(), sqlx::Error> {
        let session = idle(&self.line, &mut self.session)?;
        self.journal.before_statement();
        session.run(query, want);
        self.line = Line::Busy(Step::Statement { level, function });
        Ok(())
    }

    /// What is on record of the transaction.
    pub(crate) fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// Begins the transaction on a new connection.
    pub(crate) async fn begin(
        &mut self,
        lease: Lease<DB>,
        task: Task<DB>,
        taking: Option<Taking>,
    ) -> Result<(), sqlx::Error> {
        self.session = Some(Session::open(lease, self.session.take()));
        self.line = Line::Idle;
        let begun = self
            .perform(Step::Begin(taking), Operation::Task(task))
            .await;
        begun.map(drop)
    }

    /// Starts an operation, here and now, and runs it to its end.
    pub(crate) fn perform(
        &mut self,
        step: Step<DB>,
        operation: Operation<DB>,
    ) -> impl Future<Output = Result<Answer<DB>, sqlx::Error>> + Send {
        // An `async fn` would have room for both, twice.
        let started = self.start(step, operation);
        async {
            started?;
            self.finish().await
        }
    }

    /// Runs the operation under way to its end, whoever started it.
    pub(crate) async fn finish(&mut self) -> Result<Answer<DB>, sqlx::Error> {
        let Line::Busy(step) = &self.line else {
            return Ok(Answer::default());
        };
        let _consumer = match step {
            Step::Stream { rows, .. } => Some(rows.read_all()),
            _ => None,
        };
        poll_fn(|cx| self.advance(cx)).await
    }

    /// Moves the operation under way forward; no stream, unless its consumer looks after itself.
    #[inline]
    pub(crate) fn advance(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Answer<DB>, sqlx::Error>> {
        let Some(session) = &mut self.session else {
            return Poll::Pending;
        };
        let entered = self.journal.enter();
        let Report {
            result,
            failure,
            completion,
        } = ready!(session.poll(cx));
        drop(entered);
        match &self.line {
            Line::Busy(Step::Statement { .. }) if result.is_ok() => {
                self.line = Line::Idle;
                self.journal.after_statement();
            }
            _ => self.complete(result.as_ref().err(), failure, completion),
        }
        Poll::Ready(result)
    }

    /// Moves a stream's operation forward as far as it goes now; `false` if it is not the
    /// one under way.
    pub(crate) fn advance_stream(&mut self, rows: &Arc<Rows<DB>>, cx: &mut Context<'_>) -> bool {
        let ours = matches!(&self.line, Line::Busy(Step::Stream { rows: running, .. }) if Arc::ptr_eq(running, rows));
        if ours {
            // A stream's error went to its consumer.
            let _ = self.advance(cx);
        }
        ours
    }

    /// The operation is over: what is true of the connection and the levels now.
    fn complete(
        &mut self,
        error: Option<&sqlx::Error>,
        failure: Option<Failure>,
        completion: Option<Completion>,
    ) {
        let Line::Busy(step) = std::mem::replace(&mut self.line, Line::Idle) else {
            return;
        };
        let over = self.session.as_ref().is_some_and(Session::is_over);
        let ended = over.then(|| completion.unwrap_or(Completion::RolledBack));
        self.record(&step, error, failure.as_ref(), ended);
        if over {
            self.line = match step {
                Step::Begin(_) => Line::Unused,
                _ => Line::Over,
            };
            if !matches!(step, Step::Commit | Step::RollBack) {
                // Closes the connection unless it is clean.
                drop(self.session.as_mut().and_then(Session::leave));
            }
        }
        match step {
            Step::RollBack => {}
            Step::Begin(taking) => {
                if let Some(taking) = taking.filter(|_| error.is_none()) {
                    taking.succeed();
                }
            }
            Step::Lock {
                level,
                function,
                taking,
            } => {
                if error.is_none() {
                    taking.succeed();
                }
                self.judge_statement(&level, function, failure);
            }
            Step::Commit => self.completion = completion,
            Step::Statement { level, function }
            | Step::Stream {
                level, function, ..
            } => self.judge_statement(&level, function, failure),
            Step::OpenSavepoint(level) => match failure {
                None => self.savepoints.push(level),
                Some(failure) => doom_all::<DB>(&level, failure, error),
            },
            Step::Release(level) => {
                self.forget_savepoint(&level);
                match failure {
                    None => level.release(),
                    Some(failure) => doom_all::<DB>(&level, failure, error),
                }
            }
            Step::RollBackTo(level) => {
                self.forget_savepoint(&level);
                if let Some(failure) = failure {
                    doom_all::<DB>(&level, failure, error);
                }
            }
        }
    }

    fn record(
        &mut self,
        step: &Step<DB>,
        error: Option<&sqlx::Error>,
        failure: Option<&Failure>,
        ended: Option<Completion>,
    ) {
        let error = error.map(|error| error as _);
        // A stream's error went to its consumer, and left its words.
        let error = error.or_else(|| failure.map(|failure| &failure.cause as _));
        self.journal.after(step.act(false), error, ended);
    }

    fn judge_statement(&self, level: &Arc<Level>, function: Site, failure: Option<Failure>) {
        let Some(Failure { fault, cause }) = failure else {
            return;
        };
        let doom = Doom::new(function, cause);
        match fault {
            Fault::Local => {}
            Fault::Statement if self.tolerant => {}
            Fault::Statement => level.doom(doom),
            Fault::Transaction | Fault::Connection => level.doom_transaction(&doom),
        }
    }

    /// The savepoint is gone on the server, and with it those inside it.
    fn forget_savepoint(&mut self, level: &Arc<Level>) {
        if let Some(position) = self
            .savepoints
            .iter()
            .position(|open| Arc::ptr_eq(open, level))
        {
            self.savepoints.truncate(position);
        }
    }
}

/// The session of a line that is idle.
fn idle<'a, DB: Dialect>(
    line: &Line<DB>,
    session: &'a mut Option<Session<DB>>,
) -> Result<&'a mut Session<DB>, sqlx::Error> {
    match (line, session) {
        (Line::Idle, Some(session)) => Ok(session),
        // The connection was lost earlier, which doomed the transaction; what comes here was
        // asked for at that very moment.
        _ => Err(sqlx::Error::Io(std::io::ErrorKind::NotConnected.into())),
    }
}

/// A savepoint message failed: the savepoint is lost, or the transaction around it is.
fn doom_all<DB: Dialect>(level: &Arc<Level>, failure: Failure, error: Option<&sqlx::Error>) {
    let cause = match error {
        Some(error) if DB::ended_early(error) => {
            Cause::of_database(CauseKind::EndedEarly, error, false)
        }
        _ => failure.cause,
    };
    level.doom_transaction(&Doom::new(level.site(), cause));
}
