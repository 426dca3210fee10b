//! The life of one scope: entered by its mode, left by its body's result.

mod attempts;
mod locked;

use std::any::Any;
use std::pin::pin;
use std::sync::Arc;

use tokio::time::Instant;

use crate::aftermath::{self, Aftermath};
use crate::cause::{Cause, CauseKind, Doom};
use crate::chain::{self, Frame, Ground, Physical, ScopeLink};
use crate::deadline::{self, Deadline};
use crate::dialect::Dialect;
use crate::error::{Error, Outcome};
use crate::hook::{Completion, HookFailure};
use crate::level::Level;
use crate::lock::{Bound, Held};
use crate::options::{Terms, TransactionOptions};
use crate::propagation::{Entry, Propagation};
use crate::result::TransactionResult;
use crate::rules::{RuledOptions, Rules};
use crate::site::Site;
use crate::source::{Holding, Source};
use crate::transaction::{Transaction, Verdict};

pub(crate) use attempts::Attempts;

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
    let (result, aftermath, _) = live(scope, rules, body).await;
    aftermath::settle(aftermath).await;
    result
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
    let mut entered = Box::pin(locked::enter(source, &options, lock));
    let entered = deadline::race(deadline, entered.as_mut()).await;
    let entered = entered.unwrap_or_else(|late| {
        let doom = late.doom();
        Err(Error::timed_out(options.site, &doom))
    });
    let (scope, held) = match entered {
        Ok(entered) => entered,
        Err(refused) => return R::from_result(Err(refused.into())),
    };
    let (result, aftermath, _) = live(scope, rules, body).await;
    if let Some(held) = held {
        // What was committed stays so; a lock that cannot be opened is on record.
        let _ = held.open(options.site).await;
    }
    aftermath::settle(aftermath).await;
    result
}

/// The end of the time of a scope that is yet to be entered.
fn deadline_to_be<DB: Dialect>(
    source: &Source<DB>,
    options: &TransactionOptions,
) -> Option<Deadline> {
    let position = chain::current(|frame| Position::nearest(source, frame));
    let entry = options.propagation.entry(position.is_some());
    let begins = matches!(entry, Entry::Begin | Entry::BeginUnderLock);
    own_deadline(source, options, begins)
}

/// The body in its scope, to the end of both; what is due then is left to the caller.
async fn live<DB, R, F>(
    mut scope: Scope<DB>,
    rules: Rules<R::Ok, R::Error>,
    body: F,
) -> (R, Option<Aftermath>, Ending)
where
    DB: Dialect,
    R: TransactionResult,
    F: AsyncFnOnce() -> R,
{
    let ended = {
        let body = pin!(chain::within(&scope.frame, body));
        deadline::race(scope.deadline, body).await
    };
    let result = match ended {
        Ok(result) => result.into_result(),
        Err(deadline) => {
            let late = Box::pin(scope.time_out(deadline)).await;
            let result = R::from_result(Err(late.into()));
            return (result, scope.aftermath(), Ending::Final);
        }
    };
    let intent = match &result {
        Ok(value) if rules.rejects(value) => {
            Intent::GiveUp("it returned a value that its `rollback_if` rejects".to_owned())
        }
        Ok(_) => Intent::Keep(Meant::Ok),
        Err(error) if rules.commits(error) => Intent::Keep(Meant::Kept(rules.describe(error))),
        Err(error) => Intent::GiveUp(if scope.is_participant() {
            rules.describe(error)
        } else {
            String::new()
        }),
    };
    let result = R::from_result(match scope.leave(intent).await {
        Ok(()) => result,
        Err(error) => Err(error.into()),
    });
    (result, scope.aftermath(), scope.ending)
}

/// Whether a scope is worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It is not: it has committed, or failed for reasons of its own, or owned nothing.
    Final,
    /// A conflict with others has rolled it back.
    Conflict,
    /// Nobody knows whether it has committed.
    Unknown,
}

/// What the owner of a scope wants of it at its end.
pub(crate) enum Intent {
    Keep(Meant),
    /// With the error in words, for those who ask later why the transaction is doomed.
    GiveUp(String),
}

/// What a scope that means to commit returned.
pub(crate) enum Meant {
    Ok,
    Kept(String),
}

impl Meant {
    fn into_text(self) -> String {
        match self {
            Self::Ok => "returned Ok".to_owned(),
            Self::Kept(error) => {
                format!("returned an error that its rules commit for ({error})")
            }
        }
    }
}

/// One execution of a transactional function; dropped before its end, it rolls back.
pub(crate) struct Scope<DB: Dialect> {
    site: Site,
    frame: Arc<Frame>,
    /// `None` once the scope has been left.
    role: Option<Role<DB>>,
    /// What its end has made due.
    aftermath: Option<Aftermath>,
    ending: Ending,
    /// The end of its own time.
    deadline: Option<Deadline>,
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
            Meant::Ok if self.fails_early => self.level.check(function),
            _ => self.level.check_open(),
        }
    }
}

impl Drop for Participation {
    fn drop(&mut self) {
        self.level.part();
    }
}

/// Where the statements of a scope run.
pub(crate) struct Position<DB: Dialect> {
    pub(crate) transaction: Arc<Transaction<DB>>,
    pub(crate) level: Arc<Level>,
    /// The function that the statements are run for.
    pub(crate) function: Site,
}

impl<DB: Dialect> Position<DB> {
    /// The position that a chain entry stands for, if it is in a transaction.
    pub(crate) fn of(scope: &ScopeLink) -> Option<Self> {
        let Ground::Transaction { transaction, level } = &scope.ground else {
            return None;
        };
        Some(Self {
            transaction: of_type(transaction)?,
            level: Arc::clone(level),
            function: scope.site,
        })
    }

    /// The position of a chain that ends in `frame`, if it is in a transaction of `source`.
    pub(crate) fn nearest(source: &Source<DB>, frame: Option<&Frame>) -> Option<Self> {
        let found = frame.and_then(|frame| frame.find(source.id()))?;
        Self::of(found.scope)
    }

    /// Whether a statement could be sent this moment.
    pub(crate) fn is_ready(&self) -> bool {
        self.transaction
            .ready_now(&self.level, self.function)
            .is_some()
    }
}

fn of_type<DB: Dialect>(transaction: &Arc<dyn Physical>) -> Option<Arc<Transaction<DB>>> {
    let any: Arc<dyn Any + Send + Sync> = Arc::<dyn Physical>::clone(transaction);
    any.downcast().ok()
}

/// The connections of `db` that a chain holds, those of its locks included.
pub(crate) fn holding<DB: Dialect>(source: &Source<DB>, frame: Option<&Frame>) -> Holding {
    let mut holding = nearest_transaction(source, frame)
        .map_or_else(Holding::default, |transaction| transaction.holding(false));
    let locks = frame.map_or_else(Vec::new, Frame::locks);
    let kept = locks
        .iter()
        .filter(|held| held.keeps_connection(source.id()));
    holding.level += kept.count();
    holding.under_lock = !locks.is_empty();
    holding
}

/// The transaction of `db` nearest in the chain, running or suspended.
pub(crate) fn nearest_transaction<DB: Dialect>(
    source: &Source<DB>,
    frame: Option<&Frame>,
) -> Option<Arc<Transaction<DB>>> {
    let mut next = frame.and_then(|frame| frame.find(source.id()));
    while let Some(found) = next {
        if let Some(position) = Position::of(found.scope) {
            return Some(position.transaction);
        }
        next = found.parent.and_then(|frame| frame.find(source.id()));
    }
    None
}

impl<DB: Dialect> Scope<DB> {
    /// Enters a scope, or says why it cannot be entered. Nothing is sent to the server.
    pub(crate) fn enter(
        source: &Arc<Source<DB>>,
        options: &TransactionOptions,
    ) -> Result<Self, Error> {
        chain::current(|frame| {
            let position = Position::nearest(source, frame);
            match options.propagation.entry(position.is_some()) {
                entry @ (Entry::Begin | Entry::BeginUnderLock) => {
                    let locks = frame.map_or_else(Vec::new, Frame::locks);
                    if entry == Entry::BeginUnderLock && locks.is_empty() {
                        return Err(Error::NoLockHeld {
                            function: options.site,
                        });
                    }
                    let outer = nearest_transaction(source, frame);
                    let around = frame.and_then(Frame::deadline);
                    Ok(Self::begin(source, options, outer, locks, around))
                }
                Entry::Autocommit => Self::autocommit(source, options),
                Entry::RefuseWithout => Err(Error::NoTransaction {
                    function: options.site,
                }),
                Entry::Savepoint | Entry::Join | Entry::RefuseInside => match position {
                    Some(position) => {
                        let locks = frame.map_or_else(Vec::new, Frame::locks);
                        Self::inside(source, options, position, locks)
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
        locks: Vec<Arc<Held>>,
        around: Option<Deadline>,
    ) -> Self {
        let own = own_deadline(source, options, true);
        let deadline = Deadline::earlier(own, around);
        let terms = Terms {
            isolation: options.isolation.or(source.settings().isolation),
            read_only: options.read_only,
        };
        let transaction =
            Transaction::new(Arc::clone(source), options.site, terms, deadline, outer);
        // Whoever drops the caller drops its locks; the transaction has to outlive that.
        transaction.adopt(locks);
        let frame = frame(
            source,
            options,
            Some((&transaction, transaction.root())),
            own,
        );
        Self::with_role(options, frame, Role::Owner(transaction)).limited(own)
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
        Ok(Self::with_role(options, frame, Role::Autocommit))
    }

    /// The modes that have something to do with the caller's transaction.
    fn inside(
        source: &Arc<Source<DB>>,
        options: &TransactionOptions,
        position: Position<DB>,
        locks: Vec<Arc<Held>>,
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
            return Ok(Self::with_role(options, frame, role).limited(own));
        }
        let savepoint = transaction.new_savepoint(&level, options.site, options.read_only, own);
        let frame = frame(source, options, Some((&transaction, &savepoint)), own);
        let role = Role::Savepoint(transaction, savepoint);
        Ok(Self::with_role(options, frame, role).limited(own))
    }

    fn with_role(options: &TransactionOptions, frame: Arc<Frame>, role: Role<DB>) -> Self {
        Self {
            site: options.site,
            frame,
            role: Some(role),
            aftermath: None,
            ending: Ending::Final,
            deadline: None,
        }
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
        Error::timed_out(self.site, &doom)
    }

    fn position(&self) -> Option<Position<DB>> {
        self.frame.own_scope().and_then(Position::of)
    }

    pub(crate) fn frame(&self) -> &Arc<Frame> {
        &self.frame
    }

    pub(crate) fn site(&self) -> Site {
        self.site
    }

    /// The transaction that this scope has begun.
    fn owned(&self) -> Option<Arc<Transaction<DB>>> {
        match &self.role {
            Some(Role::Owner(transaction)) => Some(Arc::clone(transaction)),
            _ => None,
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
        let Intent::Keep(meant) = intent else {
            let ended = self.end(intent).await;
            self.finish(false, &ended);
            return ended;
        };
        if let Err(failure) = self.before_commit().await {
            let given_up = self.end(Intent::GiveUp(failure.to_string())).await;
            self.finish(false, &given_up);
            return Err(Error::BeforeCommit {
                function: self.site,
                failure,
                meant: meant.into_text(),
            });
        }
        let ended = self.end(Intent::Keep(meant)).await;
        self.finish(true, &ended);
        ended
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
                Box::pin(run).await?;
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
        self.aftermath = match self.role.take() {
            Some(Role::Owner(transaction)) => {
                let completion = completion(transaction.root(), kept, ended);
                self.ending = ending(transaction.root(), completion, ended);
                transaction.aftermath(completion)
            }
            Some(Role::Savepoint(transaction, level)) if !kept || ended.is_err() => {
                transaction.aftermath_of(&level)
            }
            _ => None,
        };
    }

    /// The endings that need no message to the server.
    fn leave_at_once(&mut self, intent: &Intent) -> Option<Result<(), Error>> {
        match (self.role.as_ref()?, intent) {
            (Role::Autocommit, _) => Some(Ok(())),
            (Role::Participant(part), Intent::Keep(_)) if self.is_late() => {
                part.level.doom_if_late();
                self.deadline.map(|deadline| {
                    part.level.doom(deadline.doom());
                    Err(Error::timed_out(self.site, &deadline.doom()))
                })
            }
            (Role::Participant(part), Intent::Keep(meant)) => Some(part.keep(self.site, meant)),
            (Role::Participant(part), Intent::GiveUp(error)) => {
                let cause = Cause::of_function(CauseKind::Returned, error.as_str());
                part.level.doom(Doom::new(self.site, cause));
                Some(Ok(()))
            }
            (Role::Owner(transaction), Intent::Keep(_)) => {
                transaction.root().doom_if_outlived();
                transaction.root().doom_if_late();
                let unused = transaction.root().verdict().is_none() && transaction.end_if_unused();
                unused.then_some(Ok(()))
            }
            (Role::Owner(transaction), Intent::GiveUp(_)) => {
                transaction.end_if_unused().then_some(Ok(()))
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
        match self.role.take() {
            None | Some(Role::Autocommit) => {}
            Some(Role::Owner(transaction)) => transaction.abandon(),
            Some(Role::Savepoint(transaction, level)) => transaction.abandon_savepoint(&level),
            Some(Role::Participant(ref part)) => {
                part.level.doom(Doom::new(self.site, cause_of_drop()));
            }
        }
    }
}

fn cause_of_drop() -> Cause {
    if std::thread::panicking() {
        Cause::of_function(CauseKind::Panicked, "it panicked")
    } else {
        Cause::of_function(
            CauseKind::Dropped,
            "its future was dropped before it finished",
        )
    }
}

/// What became of a transaction whose owner wanted to keep its work, or not.
fn completion(root: &Arc<Level>, kept: bool, ended: &Result<(), Error>) -> Completion {
    match ended {
        Err(error) if error.outcome() == Outcome::Unknown => Completion::Unknown,
        Ok(()) if kept => Completion::Committed,
        _ if has_ended_early(root) => Completion::Unknown,
        _ => Completion::RolledBack,
    }
}

fn ending(root: &Arc<Level>, completion: Completion, ended: &Result<(), Error>) -> Ending {
    let refused = match ended {
        Err(Error::Commit { retryable, .. }) => *retryable,
        _ => false,
    };
    let doomed = root.verdict().is_some_and(|doom| doom.cause.is_retryable());
    match completion {
        Completion::Unknown => Ending::Unknown,
        Completion::RolledBack if doomed || refused => Ending::Conflict,
        Completion::Committed | Completion::RolledBack => Ending::Final,
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
        Some(asked) if transaction.isolation() != Some(asked) => Err(Error::IsolationMismatch {
            function: options.site,
            asked,
            outer: transaction.root().site(),
            found: transaction.isolation(),
        }),
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

async fn commit<DB: Dialect>(transaction: &Transaction<DB>, meant: Meant) -> Result<(), Error> {
    if transaction.root().verdict().is_none() {
        match transaction.commit().await {
            Ok(verdict) => return judge::<DB>(verdict, transaction.root().site(), meant),
            Err(error) if transaction.root().verdict().is_none() => {
                transaction.roll_back().await;
                return Err(error);
            }
            // A statement that was still under way has failed and doomed the transaction.
            Err(_) => {}
        }
    }
    transaction.roll_back().await;
    Err(unexpected_rollback(transaction.root(), meant))
}

fn judge<DB: Dialect>(verdict: Verdict, function: Site, meant: Meant) -> Result<(), Error> {
    match verdict {
        Verdict::Committed => Ok(()),
        Verdict::Refused(source) => Err(Error::Commit {
            function,
            retryable: DB::is_retryable(&source),
            source,
            meant: meant.into_text(),
        }),
        Verdict::EndedEarly(source) => Err(Error::EndedEarly {
            function,
            cause: Cause::of_database(CauseKind::EndedEarly, &source, false),
            meant: meant.into_text(),
        }),
        Verdict::Unknown(source) => Err(Error::CommitUnknown {
            function,
            source,
            meant: meant.into_text(),
        }),
    }
}

async fn release<DB: Dialect>(
    transaction: &Transaction<DB>,
    level: &Arc<Level>,
    meant: Meant,
) -> Result<(), Error> {
    level.check_open()?;
    level.doom_if_outlived();
    level.doom_if_late();
    if level.verdict().is_none() {
        match transaction.close_savepoint(level, true).await {
            Err(Error::Doomed { .. }) => {}
            Err(_) if has_ended_early(level) => {}
            ended => return ended,
        }
    }
    let _ = transaction.close_savepoint(level, false).await;
    Err(unexpected_rollback(level, meant))
}

fn has_ended_early(level: &Arc<Level>) -> bool {
    let verdict = level.verdict();
    verdict.is_some_and(|doom| doom.cause.kind() == CauseKind::EndedEarly)
}

/// The error of a scope that meant to keep its work and could not.
fn unexpected_rollback(level: &Arc<Level>, meant: Meant) -> Error {
    let function = level.site();
    let Some(doom) = level.verdict() else {
        return Error::TransactionClosed { function };
    };
    if doom.cause.kind() == CauseKind::RollbackOnly && doom.by == function {
        return Error::RolledBack {
            function,
            reason: match meant {
                Meant::Ok => doom.cause.to_string(),
                kept @ Meant::Kept(_) => format!("{}; it {}", doom.cause, kept.into_text()),
            },
        };
    }
    if doom.cause.kind() == CauseKind::TimedOut {
        return Error::timed_out(function, doom);
    }
    let (cause, meant) = (doom.cause.clone(), meant.into_text());
    if cause.kind() == CauseKind::EndedEarly {
        return Error::EndedEarly {
            function,
            cause,
            meant,
        };
    }
    Error::UnexpectedRollback {
        function,
        by: doom.by,
        cause,
        meant,
    }
}
