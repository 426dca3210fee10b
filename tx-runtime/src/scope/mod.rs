//! The life of one scope: entered by its mode, left by its body's result.

mod attempts;
mod ending;
mod locked;
mod panic_watch;
mod position;
mod running;
mod trace;

use std::pin::pin;
use std::sync::Arc;

use self::ending::{Ending, commit, completion, ending, release};
use self::panic_watch::PanicWatch;
use crate::aftermath::Aftermath;
use crate::cause::{Cause, CauseKind, Doom};
use crate::chain::{self, Frame, Ground, Physical as _, ScopeLink};
use crate::deadline::{self, Deadline};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::hook::HookFailure;
use crate::level::Level;
use crate::listener::Suspension;
use crate::lock::Held;
use crate::options::{Terms, TransactionOptions};
use crate::propagation::{Entry, Propagation};
use crate::site::Site;
use crate::source::Source;
use crate::transaction::Transaction;
use crate::transaction_info::TransactionInfo;

pub(crate) use self::attempts::Attempts;
pub(crate) use self::ending::{Intent, Meant};
pub(crate) use self::position::{Position, holding, nearest_transaction};
pub(crate) use self::running::{run, run_locked};
pub(crate) use self::trace::Trace;

/// One execution of a transactional function; dropped before its end, it rolls back.
pub(crate) struct Scope<DB: Dialect> {
    frame: Arc<Frame>,
    /// `None` once the scope has been left.
    role: Option<Role<DB>>,
    /// What its end has made due.
    aftermath: Option<Aftermath>,
    ending: Ending,
    /// The end of its own time.
    deadline: Option<Deadline>,
    trace: Trace,
    /// The transaction around it, as long as it is set aside.
    set_aside: Option<Box<Suspension>>,
    panics: PanicWatch,
}

/// What a scope has of a transaction.
enum Role<DB: Dialect> {
    Owner(Arc<Transaction<DB>>),
    Savepoint(Arc<Transaction<DB>>, Arc<Level>),
    Participant(Participation),
    Autocommit,
}

/// A part in a level that another scope owns.
struct Participation {
    level: Arc<Level>,
    /// Whether it is told at its own end that the level cannot commit.
    fails_early: bool,
}

impl Participation {
    fn new(level: Arc<Level>, fails_early: bool) -> Self {
        level.join();
        Self { level, fails_early }
    }

    fn keep(&self, function: Site, meant: &Meant) -> Result<(), Error> {
        match meant {
            Meant::Ok | Meant::ByHand if self.fails_early => self.level.check(function),
            _ => self.level.check_open(),
        }
    }
}

impl Drop for Participation {
    fn drop(&mut self) {
        self.level.part();
    }
}

impl<DB: Dialect> Scope<DB> {
    /// Enters a scope, or says why it cannot be entered. Nothing is sent to the server.
    pub(crate) fn enter(
        source: &Arc<Source<DB>>,
        options: &TransactionOptions,
    ) -> Result<Self, Error> {
        chain::current(|frame| {
            let position = Position::nearest(source, frame);
            let suspend = || {
                let outer = position.as_ref();
                outer.and_then(|position| position.transaction.suspend())
            };
            match options.propagation.entry(position.is_some()) {
                entry @ (Entry::Begin | Entry::BeginUnderLock) => {
                    let locks = frame.map_or_else(Vec::new, Frame::locks);
                    if entry == Entry::BeginUnderLock && locks.is_empty() {
                        return Err(Error::NoLockHeld {
                            function: options.site,
                        });
                    }
                    check_author(options)?;
                    let outer = nearest_transaction(source, frame);
                    let around = frame.and_then(Frame::deadline);
                    let scope = Self::begin(source, options, outer, &locks, around);
                    Ok(scope.suspending(suspend()))
                }
                Entry::Autocommit => {
                    let scope = Self::autocommit(source, options)?;
                    Ok(scope.suspending(suspend()))
                }
                Entry::RefuseWithout => Err(Error::NoTransaction {
                    function: options.site,
                }),
                Entry::Savepoint | Entry::Join | Entry::RefuseInside => match position {
                    Some(position) => {
                        let locks = frame.map_or_else(Vec::new, Frame::locks);
                        Self::inside(source, options, position, &locks)
                    }
                    None => Err(Error::NoTransaction {
                        function: options.site,
                    }),
                },
            }
        })
    }

    fn begin(
        source: &Arc<Source<DB>>,
        options: &TransactionOptions,
        outer: Option<Arc<Transaction<DB>>>,
        locks: &[Arc<Held>],
        around: Option<Deadline>,
    ) -> Self {
        let own = own_deadline(source, options, true);
        let deadline = Deadline::earlier(own, around);
        let terms = Terms {
            isolation: options.isolation.or(source.settings().isolation),
            read_only: options.read_only,
        };
        let suspended = outer.as_ref().filter(|_| !options.read_only);
        let author = options
            .author
            .clone()
            .or_else(|| suspended?.author().cloned());
        let trace = trace(source, options, "owner");
        let info = TransactionInfo::next(options.site, options.propagation, terms);
        let transaction = Transaction::new(
            Arc::clone(source),
            info,
            author,
            deadline,
            outer,
            trace.span(),
        );
        // Whoever drops the caller drops its locks; the transaction has to outlive that.
        transaction.adopt(locks);
        let frame = frame(
            source,
            options,
            Some((&transaction, transaction.root())),
            own,
        );
        Self::with_role(frame, Role::Owner(transaction), trace).limited(own)
    }

    fn autocommit(source: &Arc<Source<DB>>, options: &TransactionOptions) -> Result<Self, Error> {
        if let Some(option) = options.for_a_transaction() {
            return Err(Error::WithoutEffect {
                function: options.site,
                option,
                propagation: options.propagation,
            });
        }
        let frame = frame::<DB>(source, options, None, None);
        let trace = trace(source, options, "autocommit");
        Ok(Self::with_role(frame, Role::Autocommit, trace))
    }

    /// The modes that have something to do with the caller's transaction.
    fn inside(
        source: &Arc<Source<DB>>,
        options: &TransactionOptions,
        position: Position<DB>,
        locks: &[Arc<Held>],
    ) -> Result<Self, Error> {
        let Position {
            transaction, level, ..
        } = position;
        if options.propagation == Propagation::Never {
            return Err(Error::TransactionActive {
                function: options.site,
                outer: transaction.root().site(),
            });
        }
        level.check(options.site)?;
        check_isolation(options, &transaction)?;
        check_read_only::<DB>(options, &level)?;
        check_history(options, &transaction)?;
        let own = own_deadline(source, options, false);
        if own.is_some() {
            transaction.expect_interrupts();
        }
        // What is done from here on may rely on them, and is stored when it is.
        transaction.adopt(locks);
        if options.propagation != Propagation::Nested {
            let frame = frame(source, options, Some((&transaction, &level)), own);
            let participation = Participation::new(level, source.settings().fail_early);
            let role = Role::Participant(participation);
            let trace = trace(source, options, "joined");
            return Ok(Self::with_role(frame, role, trace).limited(own));
        }
        let savepoint = transaction.new_savepoint(&level, options.site, options.read_only, own);
        let frame = frame(source, options, Some((&transaction, &savepoint)), own);
        let role = Role::Savepoint(transaction, savepoint);
        let trace = trace(source, options, "savepoint");
        Ok(Self::with_role(frame, role, trace).limited(own))
    }

    fn with_role(frame: Arc<Frame>, role: Role<DB>, trace: Trace) -> Self {
        Self {
            frame,
            role: Some(role),
            aftermath: None,
            ending: Ending::Final,
            deadline: None,
            trace,
            set_aside: None,
            panics: PanicWatch::default(),
        }
    }

    fn suspending(mut self, outer: Option<Box<Suspension>>) -> Self {
        self.set_aside = outer;
        self
    }

    /// The scope with a time of its own, which ends no later than that around it.
    fn limited(mut self, own: Option<Deadline>) -> Self {
        self.deadline = own.and(self.frame.deadline());
        self
    }

    /// Ends the scope because its time is over, and says so.
    async fn time_out(&mut self, deadline: Deadline) -> Error {
        let doom = deadline.doom();
        if let Some(position) = self.position() {
            position.level.doom(doom.clone());
            position.transaction.interrupt().await;
        }
        // What becomes of the transaction is told to its owner; here the time is the reason.
        let _ = self.leave(Intent::GiveUp(doom.cause.to_string())).await;
        Error::timed_out(self.site(), &doom)
    }

    fn position(&self) -> Option<Position<DB>> {
        self.frame.own_scope().and_then(Position::of)
    }

    pub(crate) fn frame(&self) -> &Arc<Frame> {
        &self.frame
    }

    /// Runs a part of the body where [`run`] does not.
    pub(crate) async fn cover<T>(&self, part: impl Future<Output = T>) -> T {
        let part = pin!(part);
        let part = pin!(self.panics.over(part));
        self.trace.cover(None, part).await
    }

    pub(crate) fn site(&self) -> Site {
        self.trace.function()
    }

    /// The transaction that this scope has begun.
    fn owned(&self) -> Option<Arc<Transaction<DB>>> {
        match &self.role {
            Some(Role::Owner(transaction)) => Some(Arc::clone(transaction)),
            _ => None,
        }
    }

    /// The work under `lock` is this scope's: it is done when the scope's transaction has
    /// committed.
    fn is_all_under(&self, lock: Option<&Arc<Held>>) {
        let position = self.frame.own_scope().and_then(Position::<DB>::of);
        if let (Some(position), Some(held)) = (position, lock) {
            position.transaction.is_whole(held);
        }
    }

    /// Whether the scope has a transaction, or a part in one.
    pub(crate) fn has_transaction(&self) -> bool {
        !matches!(self.role, None | Some(Role::Autocommit))
    }

    /// The level of another scope that this one has joined.
    pub(crate) fn joined_level(&self) -> Option<Arc<Level>> {
        match &self.role {
            Some(Role::Participant(part)) => Some(Arc::clone(&part.level)),
            _ => None,
        }
    }

    /// Whether the server refuses writes in it.
    pub(crate) fn is_read_only(&self) -> bool {
        self.position()
            .is_some_and(|position| position.level.is_read_only())
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline.has_passed())
    }

    fn is_participant(&self) -> bool {
        matches!(self.role, Some(Role::Participant(_)))
    }

    /// Ends the scope as its body's result asks; what is due then is in its
    /// [`aftermath`](Self::aftermath).
    ///
    /// If the future is dropped half-way, a COMMIT that was sent runs to its answer and
    /// anything less is rolled back.
    pub(crate) async fn leave(&mut self, intent: Intent) -> Result<(), Error> {
        let intent = match intent {
            Intent::Keep(meant) => match self.before_commit().await {
                Ok(()) => Intent::Keep(meant),
                Err(failure) => return Box::pin(self.leave_unkept(failure, meant)).await,
            },
            give_up @ Intent::GiveUp(_) => give_up,
        };
        let kept = matches!(intent, Intent::Keep(_));
        let ended = self.end(intent).await;
        if let Err(error) = &ended
            && kept
        {
            trace::report(self.site(), error);
        }
        self.finish(kept, &ended);
        ended
    }

    /// Ends the scope, which a hook keeps from committing.
    async fn leave_unkept(&mut self, failure: HookFailure, meant: Meant) -> Result<(), Error> {
        let given_up = self.end(Intent::GiveUp(failure.to_string())).await;
        self.finish(false, &given_up);
        let error = Error::BeforeCommit {
            function: self.site(),
            failure,
            meant: meant.into_text(),
        };
        trace::report(self.site(), &error);
        Err(error)
    }

    /// What the scope's end has made due.
    pub(crate) fn aftermath(&mut self) -> Option<Aftermath> {
        self.aftermath.take()
    }

    /// Runs the hooks that come before COMMIT, those that they register included.
    async fn before_commit(&self) -> Result<(), HookFailure> {
        let Some(Role::Owner(transaction)) = &self.role else {
            return Ok(());
        };
        loop {
            transaction.root().doom_if_outlived();
            transaction.root().doom_if_late();
            if transaction.root().verdict().is_some() {
                return Ok(());
            }
            let due = transaction.hooks().before_commit();
            if due.is_empty() {
                return Ok(());
            }
            for hook in due {
                let run = chain::within(&self.frame, async || hook.run_before_end().await);
                let mut run = Box::pin(run);
                match deadline::race(transaction.root().deadline(), run.as_mut()).await {
                    Ok(ended) => ended?,
                    Err(late) => {
                        // Before the hook is dropped: a scope in it is not the reason.
                        transaction.root().doom(late.doom());
                        drop(run);
                        Box::pin(transaction.interrupt()).await;
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn end(&mut self, intent: Intent) -> Result<(), Error> {
        match self.leave_at_once(&intent) {
            Some(ended) => ended,
            None => self.leave_on_server(intent).await,
        }
    }

    /// The scope has ended: takes the hooks that this makes due.
    fn finish(&mut self, kept: bool, ended: &Result<(), Error>) {
        let kept = kept && ended.is_ok();
        let outcome = match self.role.take() {
            Some(Role::Owner(transaction)) => {
                let root = transaction.root();
                let completion = completion(root, kept, ended);
                self.ending = ending(root, completion, ended);
                self.aftermath = transaction.aftermath(completion);
                Some(trace::of_owner(root, completion, self.ending, ended))
            }
            Some(Role::Savepoint(..)) if kept => Some("released"),
            Some(Role::Savepoint(transaction, level)) => {
                self.aftermath = transaction.aftermath_of(&level);
                Some("rolled_back")
            }
            Some(Role::Participant(part)) => {
                let kept = kept && part.level.verdict().is_none();
                Some(if kept { "kept" } else { "doomed" })
            }
            Some(Role::Autocommit) | None => None,
        };
        self.trace.end(outcome);
    }

    /// The endings that need no message to the server.
    fn leave_at_once(&mut self, intent: &Intent) -> Option<Result<(), Error>> {
        match (self.role.as_ref()?, intent) {
            (Role::Autocommit, _) => Some(Ok(())),
            (Role::Participant(part), Intent::Keep(_)) if self.is_late() => {
                part.level.doom_if_late();
                self.deadline.map(|deadline| {
                    part.level.doom(deadline.doom());
                    Err(Error::timed_out(self.site(), &deadline.doom()))
                })
            }
            (Role::Participant(part), Intent::Keep(meant)) => Some(part.keep(self.site(), meant)),
            (Role::Participant(part), Intent::GiveUp(error)) => {
                let cause = Cause::of_function(CauseKind::Returned, error.as_str());
                part.level.doom(Doom::new(self.site(), cause));
                Some(Ok(()))
            }
            (Role::Owner(transaction), Intent::Keep(_)) => {
                transaction.root().doom_if_outlived();
                transaction.root().doom_if_late();
                let unused =
                    transaction.root().verdict().is_none() && transaction.end_if_unused(true);
                unused.then_some(Ok(()))
            }
            (Role::Owner(transaction), Intent::GiveUp(_)) => {
                transaction.end_if_unused(false).then_some(Ok(()))
            }
            (Role::Savepoint(..), _) => None,
        }
    }

    async fn leave_on_server(&self, intent: Intent) -> Result<(), Error> {
        match (&self.role, intent) {
            (Some(Role::Owner(transaction)), Intent::Keep(meant)) => {
                commit(transaction, meant).await
            }
            (Some(Role::Owner(transaction)), Intent::GiveUp(_)) => {
                transaction.roll_back().await;
                Ok(())
            }
            (Some(Role::Savepoint(transaction, level)), Intent::Keep(meant)) => {
                release(transaction, level, meant).await
            }
            (Some(Role::Savepoint(transaction, level)), Intent::GiveUp(_)) => {
                // The body's own error is the one to report; a failure here has doomed the
                // transaction and is told to its owner.
                let _ = transaction.close_savepoint(level, false).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl<DB: Dialect> Drop for Scope<DB> {
    fn drop(&mut self) {
        if let Some(role) = self.role.take() {
            self.trace.end(Some("dropped"));
            abandon(self.site(), role, self.panics.has_seen_one());
        }
        // From now on the scope around it goes on.
        drop(self.set_aside.take());
    }
}

fn abandon<DB: Dialect>(function: Site, role: Role<DB>, panicked: bool) {
    match role {
        Role::Autocommit => {}
        Role::Owner(transaction) => transaction.abandon(),
        Role::Savepoint(transaction, level) => transaction.abandon_savepoint(&level),
        Role::Participant(part) => part
            .level
            .doom(Doom::new(function, cause_of_drop(panicked))),
    }
}

fn trace<DB: Dialect>(
    source: &Source<DB>,
    options: &TransactionOptions,
    role: &'static str,
) -> Trace {
    Trace::new(options, role, source.settings().watch.slow)
}

fn cause_of_drop(panicked: bool) -> Cause {
    if panicked {
        Cause::of_function(CauseKind::Panicked, "it panicked")
    } else {
        Cause::of_function(
            CauseKind::Dropped,
            "its future was dropped before it finished",
        )
    }
}

fn frame<DB: Dialect>(
    source: &Source<DB>,
    options: &TransactionOptions,
    position: Option<(&Arc<Transaction<DB>>, &Arc<Level>)>,
    deadline: Option<Deadline>,
) -> Arc<Frame> {
    let ground = match position {
        None => Ground::Autocommit,
        Some((transaction, level)) => Ground::Transaction {
            transaction: Arc::<Transaction<DB>>::clone(transaction),
            level: Arc::clone(level),
        },
    };
    let link = ScopeLink {
        db: source.id(),
        site: options.site,
        ground,
    };
    Frame::scope(link, deadline)
}

/// The end of the time that the scope itself is given.
fn own_deadline<DB: Dialect>(
    source: &Source<DB>,
    options: &TransactionOptions,
    begins: bool,
) -> Option<Deadline> {
    let default = source.settings().timeout.filter(|_| begins);
    let limit = options.timeout.or(default)?;
    Deadline::after(limit, options.since, options.site)
}

fn check_isolation<DB: Dialect>(
    options: &TransactionOptions,
    transaction: &Transaction<DB>,
) -> Result<(), Error> {
    match options.isolation {
        Some(asked) if transaction.info().isolation() != Some(asked) => {
            Err(Error::IsolationMismatch {
                function: options.site,
                asked,
                outer: transaction.root().site(),
                found: transaction.info().isolation(),
            })
        }
        _ => Ok(()),
    }
}

/// Lets a function in if the transaction is of the kind that it would have begun.
fn check_read_only<DB: Dialect>(
    options: &TransactionOptions,
    level: &Arc<Level>,
) -> Result<(), Error> {
    let fits = match options.propagation {
        _ if options.read_only == level.is_read_only() => true,
        Propagation::Nested => options.read_only && DB::READ_ONLY_SAVEPOINT.is_some(),
        // They begin none, and leave it to the caller.
        Propagation::Mandatory | Propagation::Supports => !options.read_only,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(Error::ReadOnlyMismatch {
        function: options.site,
        outer: level.site(),
        read_only: options.read_only,
    })
}

/// Refuses an author that no database can store, or that has no changes to make.
fn check_author(options: &TransactionOptions) -> Result<(), Error> {
    let function = options.site;
    match &options.author {
        Some(_) if options.read_only => Err(Error::HistoryOfReader { function }),
        Some(author) => match author.flaw() {
            Some(part) => Err(Error::HistoryText { function, part }),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

/// A transaction has one revision, and so one author.
fn check_history<DB: Dialect>(
    options: &TransactionOptions,
    transaction: &Transaction<DB>,
) -> Result<(), Error> {
    check_author(options)?;
    let Some(asked) = &options.author else {
        return Ok(());
    };
    let found = transaction.author();
    if found.is_some_and(|found| found.fits(asked)) {
        return Ok(());
    }
    Err(Error::HistoryMismatch {
        function: options.site,
        asked: Arc::clone(asked),
        outer: transaction.root().site(),
        found: found.cloned(),
    })
}
