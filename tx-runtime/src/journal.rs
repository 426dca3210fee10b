//! What is on record of one physical transaction, written where its messages come and go: its
//! span, what listeners are told, and warnings.

use std::error::Error as StdError;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::span::Entered;
use tracing::{Level, Span, field};

use crate::hook::Completion;
use crate::listener::{Moment, TransactionEvent, Watch};
use crate::site::Site;
use crate::transaction_info::TransactionInfo;

/// What is about to be sent, or was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Begin,
    Savepoint(Site),
    Release(Site),
    RollBackTo(Site),
    Commit,
    RollBack,
    /// One of the body's own statements.
    Statement,
    /// One of ours.
    Preparation,
}

/// The record of one physical transaction.
pub(crate) struct Journal {
    transaction: TransactionInfo,
    watch: Arc<Watch>,
    /// That of the scope that owns it.
    owner: Span,
    /// Its own; disabled until it begins.
    span: Span,
    statements: u64,
    /// When a connection was asked for, if somebody wants to know.
    asked: Option<Instant>,
    begun: Option<Instant>,
    idle_since: Option<Instant>,
}

impl Journal {
    pub(crate) fn new(transaction: TransactionInfo, watch: &Arc<Watch>, owner: Span) -> Self {
        Self {
            transaction,
            watch: Arc::clone(watch),
            owner,
            span: Span::none(),
            statements: 0,
            asked: None,
            begun: None,
            idle_since: None,
        }
    }

    /// What is done now is done for this transaction.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        // To enter one that nobody listens to costs something all the same.
        (!self.span.is_disabled()).then(|| self.span.enter())
    }

    /// A connection is asked for.
    pub(crate) fn asks(&mut self) {
        self.asked = tracing::enabled!(Level::DEBUG).then(Instant::now);
    }

    /// There was no connection to begin on.
    pub(crate) fn refused(&self, failure: &(dyn StdError + 'static)) {
        self.tell(Moment::BeforeBegin, None, None);
        self.tell(Moment::AfterBegin, None, Some(failure));
    }

    pub(crate) fn before(&mut self, act: Act) {
        self.check_idle();
        let (moment, savepoint) = match act {
            Act::Begin => {
                self.open_span();
                (Moment::BeforeBegin, None)
            }
            Act::Savepoint(site) => (Moment::BeforeBegin, Some(site)),
            Act::Release(site) => (Moment::BeforeCommit, Some(site)),
            Act::RollBackTo(site) => (Moment::BeforeRollback, Some(site)),
            Act::Commit => (Moment::BeforeCommit, None),
            Act::RollBack => (Moment::BeforeRollback, None),
            Act::Statement => {
                self.statements += 1;
                return;
            }
            Act::Preparation => return,
        };
        self.tell(moment, savepoint, None);
    }

    /// A statement of the body is about to be sent.
    #[inline]
    pub(crate) fn before_statement(&mut self) {
        self.check_idle();
        self.statements += 1;
    }

    /// It has succeeded.
    #[inline]
    pub(crate) fn after_statement(&mut self) {
        self.note_idle();
    }

    /// `ended`: how, if the transaction is over by it.
    pub(crate) fn after(
        &mut self,
        act: Act,
        failure: Option<&(dyn StdError + 'static)>,
        ended: Option<Completion>,
    ) {
        let answered = match act {
            Act::Begin => Some((Moment::AfterBegin, None)),
            Act::Savepoint(site) => Some((Moment::AfterBegin, Some(site))),
            Act::Release(site) => Some((Moment::AfterCommit, Some(site))),
            Act::RollBackTo(site) => Some((Moment::AfterRollback, Some(site))),
            Act::Commit => Some((Moment::AfterCommit, None)),
            Act::RollBack => Some((Moment::AfterRollback, None)),
            Act::Statement | Act::Preparation => None,
        };
        if let Some((moment, savepoint)) = answered {
            self.tell(moment, savepoint, failure);
        }
        let Some(completion) = ended else {
            self.note_idle();
            return;
        };
        if !matches!(act, Act::Begin | Act::Commit | Act::RollBack) {
            // The connection is gone, and the transaction with it.
            self.tell(Moment::AfterRollback, None, failure);
        }
        self.close_span(completion);
    }

    /// The connection is closed with the transaction in it.
    pub(crate) fn cut_off(&mut self) {
        let failure = std::io::Error::other("the connection was closed");
        self.tell(Moment::AfterRollback, None, Some(&failure));
        self.close_span(Completion::RolledBack);
    }

    fn tell(
        &self,
        moment: Moment,
        savepoint: Option<Site>,
        failure: Option<&(dyn StdError + 'static)>,
    ) {
        self.watch.tell(&TransactionEvent {
            moment,
            transaction: self.transaction,
            savepoint,
            failure,
        });
    }

    #[inline]
    fn note_idle(&mut self) {
        self.idle_since = self.watch.idle.map(|_| Instant::now());
    }

    #[inline]
    fn check_idle(&mut self) {
        let (Some(since), Some(limit)) = (self.idle_since.take(), self.watch.idle) else {
            return;
        };
        let idle = since.elapsed();
        if idle > limit {
            tracing::warn!(
                function = %self.transaction.function(),
                transaction = self.transaction.id(),
                ?idle,
                "a transaction was open and idle for long"
            );
        }
    }

    fn open_span(&mut self) {
        let Self { transaction, .. } = self;
        self.span = tracing::debug_span!(
            parent: &self.owner,
            "transaction",
            id = transaction.id(),
            function = transaction.function().name(),
            isolation = transaction.isolation().map(field::display),
            read_only = transaction.is_read_only(),
            waited = self.asked.map(|asked| asked.elapsed().as_secs_f64()),
            held = field::Empty,
            statements = field::Empty,
            outcome = field::Empty,
        );
        self.begun = (!self.span.is_disabled()).then(Instant::now);
    }

    fn close_span(&mut self, completion: Completion) {
        if let Some(begun) = self.begun.take() {
            self.span.record("held", begun.elapsed().as_secs_f64());
            self.span.record("statements", self.statements);
            self.span.record("outcome", completion.word());
        }
        self.span = Span::none();
    }
}
