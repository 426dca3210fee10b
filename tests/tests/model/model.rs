//! The pure model: what a tree does, by the contract alone.
//!
//! It knows no connection and no future. A transaction is a few levels (itself and its
//! savepoints) of rows, hooks and perhaps a doom; a chain is the list of the scopes around a
//! step; a call enters by its mode, runs its body and leaves by how that ended.

use std::collections::{BTreeSet, HashMap};

use tx_runtime::{CauseKind, Completion, HookKind, Propagation};

use crate::engine::Engine;
use crate::event::{Account, Ending, Event, Failure, reason};
use crate::tree::{Call, Does, End, Form, Hook, Pace, SIDES, Side, Statement, Step, Tree, What};

/// What becomes of a tree.
pub(crate) struct Prediction {
    pub(crate) account: Account,
    /// A number for the transaction that each hook was registered in.
    pub(crate) transaction_of: HashMap<usize, usize>,
}

/// What becomes of `tree` on databases of these kinds.
pub(crate) fn predict(tree: &Tree, engines: [Engine; 2]) -> Prediction {
    let mut model = Model {
        engines,
        committed: Default::default(),
        transactions: Vec::new(),
        levels: Vec::new(),
        hooks: 0,
        transaction_of: HashMap::new(),
        events: Vec::new(),
        left_to_do: Vec::new(),
    };
    let end = model.body(&Chain::default(), &tree.body);
    if let Some(how) = end.caught() {
        model.come_back(ROOT, how);
    }
    Prediction {
        account: Account {
            events: model.events,
            stored: model.committed.map(|rows| rows.into_iter().collect()),
        },
        transaction_of: model.transaction_of,
    }
}

/// The number of the program itself, as that of a call.
pub(crate) const ROOT: usize = usize::MAX;

struct Model {
    engines: [Engine; 2],
    committed: [BTreeSet<i64>; 2],
    transactions: Vec<Transaction>,
    levels: Vec<Level>,
    /// How many hooks were registered.
    hooks: usize,
    transaction_of: HashMap<usize, usize>,
    events: Vec<Event>,
    /// The hooks, by transaction, that run once a panic or drop has reached who catches it.
    left_to_do: Vec<Vec<Event>>,
}

struct Transaction {
    side: Side,
    owner: &'static str,
    state: State,
    /// What it sees of others, where that is fixed by its first SELECT.
    snapshot: Option<BTreeSet<i64>>,
    /// Whether a statement has run that was not undone from the very first one on.
    touched: bool,
    /// The locks that it keeps to its end.
    locks: Vec<usize>,
    /// Those of scopes that joined it after its first statement; the next one settles what
    /// becomes of them.
    late: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before its first statement.
    Idle,
    Begun,
    Ended,
}

/// A transaction itself, or a savepoint in it.
struct Level {
    transaction: usize,
    outer: Option<usize>,
    rows: Vec<i64>,
    /// Whether the transaction was touched when the savepoint was set, if it is.
    set_after_touch: Option<bool>,
    hooks: Vec<Registered>,
    /// Those of savepoints in it that were dropped half-way.
    late: Vec<Registered>,
    doom: Option<Doom>,
}

#[derive(Clone)]
struct Doom {
    by: Site,
    cause: CauseKind,
    reason: String,
}

#[derive(Clone)]
struct Registered {
    hook: Hook,
    number: usize,
}

/// A function, which may call itself.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Site {
    name: &'static str,
}

/// The scopes around a step, the outermost first.
#[derive(Clone, Default)]
struct Chain {
    frames: Vec<Frame>,
    /// Each by the number of the call that has it around itself.
    locks: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Frame {
    side: Side,
    scope: Site,
    /// The level that statements run in; without one they are stored one by one.
    level: Option<usize>,
}

impl Chain {
    fn find(&self, side: Side) -> Option<Frame> {
        self.frames
            .iter()
            .rev()
            .copied()
            .find(|frame| frame.side == side)
    }

    fn level(&self, side: Side) -> Option<usize> {
        self.find(side)?.level
    }
}

/// A call that is in its scope.
struct Entered {
    chain: Chain,
    part: Part,
    scope: Site,
}

#[derive(Clone, Copy)]
enum Part {
    Owner(usize),
    Savepoint(usize),
    Joined(usize),
    Outside,
}

/// How a body, or a call, ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stop {
    Well,
    Failed(Failure),
    Panicked(usize),
    Hung,
}

impl Stop {
    fn of(result: Result<(), Failure>) -> Self {
        match result {
            Ok(()) => Self::Well,
            Err(failure) => Self::Failed(failure),
        }
    }

    fn caught(self) -> Option<Ending> {
        match self {
            Self::Well => None,
            Self::Failed(failure) => Some(Ending::Returned(Err(failure))),
            Self::Panicked(call) => Some(Ending::Panicked(call)),
            Self::Hung => Some(Ending::Dropped),
        }
    }
}

// ----- the program ---------------------------------------------------------------------------

impl Model {
    fn body(&mut self, chain: &Chain, body: &[Step]) -> Stop {
        for step in body {
            let stop = self.step(chain, step);
            if stop != Stop::Well {
                return stop;
            }
        }
        Stop::Well
    }

    fn step(&mut self, chain: &Chain, step: &Step) -> Stop {
        match step {
            Step::Statement(statement) => return self.statement(chain, statement),
            Step::Look(side) => {
                let level = chain.level(*side);
                self.events.push(Event::Looked {
                    in_transaction: level.is_some(),
                    rollback_only: level.is_some_and(|level| self.doom_of(level).is_some()),
                });
            }
            Step::RollbackOnly(side) => {
                let done = self.rollback_only(chain, *side);
                self.events.push(Event::RollbackOnly(done));
            }
            Step::Hook(hook) => {
                let done = self.register(chain, hook);
                self.events.push(Event::Registered(hook.id, done));
            }
            Step::Call(call) => return self.call(chain, call),
            Step::Together(pace, calls) => return self.together(chain, *pace, calls),
        }
        Stop::Well
    }

    fn call(&mut self, chain: &Chain, call: &Call) -> Stop {
        let stop = match self.enter(chain, call) {
            Ok(entered) => {
                let stop = self.whole_body(&entered.chain, call);
                self.leave(call, &entered, stop)
            }
            Err(failure) => Stop::Failed(failure),
        };
        self.hand_over(call, stop)
    }

    fn whole_body(&mut self, chain: &Chain, call: &Call) -> Stop {
        let stop = self.body(chain, &call.body);
        if stop == Stop::Well {
            end_of(call)
        } else {
            stop
        }
    }

    /// What the caller makes of how a call has ended.
    fn hand_over(&mut self, call: &Call, stop: Stop) -> Stop {
        match stop {
            Stop::Well | Stop::Failed(_) => {
                let result = match &stop {
                    Stop::Failed(failure) => Err(failure.clone()),
                    _ => Ok(()),
                };
                let how = Ending::Returned(result);
                self.events.push(Event::Ended {
                    call: call.number,
                    how,
                });
                if call.caught { Stop::Well } else { stop }
            }
            stop if call.caught => {
                let how = stop.caught().expect("it did not end well");
                self.come_back(call.number, how);
                Stop::Well
            }
            stop => stop,
        }
    }

    /// A panic or a drop has reached who goes on after it.
    fn come_back(&mut self, call: usize, how: Ending) {
        let settles = !matches!(how, Ending::Returned(_));
        self.events.push(Event::Ended { call, how });
        if settles {
            let late = std::mem::take(&mut self.left_to_do);
            self.events.extend(late.into_iter().flatten());
            self.events.push(Event::Settled);
        }
    }

    fn together(&mut self, chain: &Chain, pace: Pace, calls: &[Call; 2]) -> Stop {
        let mut inside = [None, None];
        let mut stops = [None, None];
        for (at, call) in calls.iter().enumerate() {
            match self.enter(chain, call) {
                Ok(entered) => inside[at] = Some(entered),
                Err(failure) => stops[at] = Some(self.hand_over(call, Stop::Failed(failure))),
            }
        }
        let mut next = [0, 0];
        let mut turn = 0;
        while let Some(at) = [turn, 1 - turn].into_iter().find(|at| stops[*at].is_none()) {
            let call = &calls[at];
            let entered = inside[at].as_ref().expect("it was let in");
            let stop = match pace {
                Pace::InTurn => Some(self.whole_body(&entered.chain, call)),
                Pace::Alternating => match call.body.get(next[at]) {
                    Some(next_one) => {
                        let stop = self.step(&entered.chain, next_one);
                        (stop != Stop::Well).then_some(stop)
                    }
                    None => Some(end_of(call)),
                },
            };
            next[at] += 1;
            turn = if pace == Pace::Alternating { 1 - at } else { 0 };
            let Some(stop) = stop else { continue };
            // What hangs stays in its scope until somebody drops it, unless its caller does.
            if stop == Stop::Hung && !call.caught {
                stops[at] = Some(Stop::Hung);
                continue;
            }
            let entered = inside[at].take().expect("it was let in");
            let stop = self.leave(call, &entered, stop);
            let stop = self.hand_over(call, stop);
            if let Stop::Panicked(_) = stop {
                self.drop_all(calls, &mut inside);
                return stop;
            }
            stops[at] = Some(stop);
        }
        if stops.contains(&Some(Stop::Hung)) {
            self.drop_all(calls, &mut inside);
            return Stop::Hung;
        }
        let mut stops = stops.into_iter().flatten();
        stops.find(|stop| *stop != Stop::Well).unwrap_or(Stop::Well)
    }

    /// The branches of a `join!` that are still there when it goes.
    fn drop_all(&mut self, calls: &[Call; 2], inside: &mut [Option<Entered>; 2]) {
        for (call, entered) in calls.iter().zip(inside) {
            if let Some(entered) = entered.take() {
                self.leave(call, &entered, Stop::Hung);
            }
        }
    }
}

fn end_of(call: &Call) -> Stop {
    match call.end {
        End::Ok => Stop::Well,
        End::Fails => Stop::Failed(Failure::Own(call.number)),
        End::Benign => Stop::Failed(Failure::Benign(call.number)),
        End::Panics => Stop::Panicked(call.number),
        End::Hangs => Stop::Hung,
    }
}

// ----- entering --------------------------------------------------------------------------------

impl Model {
    fn enter(&mut self, chain: &Chain, call: &Call) -> Result<Entered, Failure> {
        let mut chain = chain.clone();
        if call.locked {
            chain.locks.push(call.number);
        }
        let scope = Site { name: call.name() };
        let part = self.part(&chain, call, scope)?;
        let level = match part {
            Part::Owner(level) | Part::Savepoint(level) | Part::Joined(level) => Some(level),
            Part::Outside => None,
        };
        chain.frames.push(Frame {
            side: call.side,
            scope,
            level,
        });
        Ok(Entered { chain, part, scope })
    }

    /// The table of the modes.
    fn part(&mut self, chain: &Chain, call: &Call, scope: Site) -> Result<Part, Failure> {
        let function = scope.name;
        let around = chain.level(call.side);
        if call.form == Form::Savepoint && around.is_none() {
            return Err(Failure::NoTransaction);
        }
        Ok(match (call.mode(), around) {
            (Propagation::Required | Propagation::Nested, None) | (Propagation::RequiresNew, _) => {
                Part::Owner(self.begin(chain, call))
            }
            (Propagation::Isolated, _) if !self.locks(chain).is_empty() => {
                Part::Owner(self.begin(chain, call))
            }
            (Propagation::Isolated, _) => return Err(Failure::NoLockHeld { function }),
            (
                Propagation::Required | Propagation::Mandatory | Propagation::Supports,
                Some(level),
            ) => {
                self.refuse_doomed(level, function)?;
                self.adopt(self.locks(chain), level);
                Part::Joined(level)
            }
            (Propagation::Nested, Some(level)) => {
                self.refuse_doomed(level, function)?;
                self.adopt(self.locks(chain), level);
                let transaction = self.levels[level].transaction;
                Part::Savepoint(self.level(transaction, Some(level)))
            }
            (Propagation::Mandatory, None) => return Err(Failure::NoTransaction),
            (Propagation::Never, Some(level)) => {
                return Err(Failure::TransactionActive {
                    function,
                    outer: self.owner(level),
                });
            }
            (Propagation::Supports | Propagation::Never, None) | (Propagation::NotSupported, _) => {
                Part::Outside
            }
        })
    }

    fn begin(&mut self, chain: &Chain, call: &Call) -> usize {
        let locks = self.locks(chain);
        self.transactions.push(Transaction {
            side: call.side,
            owner: call.name(),
            state: State::Idle,
            snapshot: None,
            touched: false,
            locks,
            late: Vec::new(),
        });
        self.level(self.transactions.len() - 1, None)
    }

    fn level(&mut self, transaction: usize, outer: Option<usize>) -> usize {
        self.levels.push(Level {
            transaction,
            outer,
            rows: Vec::new(),
            set_after_touch: None,
            hooks: Vec::new(),
            late: Vec::new(),
            doom: None,
        });
        self.levels.len() - 1
    }

    fn outermost(&self, level: usize) -> usize {
        self.levels[level]
            .outer
            .map_or(level, |outer| self.outermost(outer))
    }

    fn transaction(&mut self, level: usize) -> &mut Transaction {
        &mut self.transactions[self.levels[level].transaction]
    }

    fn owner(&self, level: usize) -> &'static str {
        self.transactions[self.levels[level].transaction].owner
    }

    /// What dooms a level: its own doom, or that of one around it.
    fn doom_of(&self, level: usize) -> Option<&Doom> {
        let level = &self.levels[level];
        let outer = || self.doom_of(level.outer?);
        level.doom.as_ref().or_else(outer)
    }

    /// The first cause stays.
    fn doom(&mut self, level: usize, by: Site, cause: CauseKind, reason: String) {
        if self.doom_of(level).is_none() {
            self.levels[level].doom = Some(Doom { by, cause, reason });
        }
    }

    fn refuse_doomed(&self, level: usize, function: &'static str) -> Result<(), Failure> {
        match self.doom_of(level) {
            None => Ok(()),
            Some(doom) => Err(Failure::Doomed {
                function,
                by: doom.by.name,
                cause: doom.cause,
            }),
        }
    }
}

// ----- what a body does --------------------------------------------------------------------------

impl Model {
    fn statement(&mut self, chain: &Chain, statement: &Statement) -> Stop {
        let ran = self.run(chain, statement.side, statement.what);
        self.events.push(Event::Ran(ran.clone()));
        match ran {
            Err(failure) if !statement.swallowed => Stop::Failed(failure),
            _ => Stop::Well,
        }
    }

    fn run(&mut self, chain: &Chain, side: Side, what: What) -> Result<Vec<i64>, Failure> {
        let frame = chain.find(side).ok_or(Failure::OutsideScope)?;
        match frame.level {
            Some(level) => self.run_in(chain, level, frame.scope, what),
            None => self.run_alone(chain, side, frame.scope, what),
        }
    }

    /// In autocommit.
    fn run_alone(
        &mut self,
        chain: &Chain,
        side: Side,
        scope: Site,
        what: What,
    ) -> Result<Vec<i64>, Failure> {
        if !matches!(what, What::Select) {
            self.refuse_second_writer(chain, side, scope)?;
        }
        let committed = &mut self.committed[side.index()];
        match what {
            What::Insert(id) => {
                committed.insert(id);
                Ok(Vec::new())
            }
            What::Duplicate => Err(Failure::Duplicate),
            What::Select => Ok(committed.iter().copied().collect()),
        }
    }

    fn run_in(
        &mut self,
        chain: &Chain,
        level: usize,
        scope: Site,
        what: What,
    ) -> Result<Vec<i64>, Failure> {
        self.adopt(chain.locks.clone(), level);
        self.refuse_doomed(level, scope.name)?;
        self.settle_locks(chain, level, scope)?;
        if self.transaction(level).state == State::Idle {
            let side = self.transaction(level).side;
            if let Err(refused) = self.refuse_second_writer(chain, side, scope) {
                // There is no transaction that a savepoint could be in.
                let whole = self.outermost(level);
                self.doom(whole, scope, CauseKind::Begin, String::new());
                return Err(refused);
            }
            self.transaction(level).state = State::Begun;
        }
        self.touch(level);
        match what {
            What::Insert(id) => {
                self.levels[level].rows.push(id);
                Ok(Vec::new())
            }
            What::Duplicate => {
                self.doom(level, scope, CauseKind::Statement, String::new());
                Err(Failure::Duplicate)
            }
            What::Select => Ok(self.visible(level)),
        }
    }

    /// `SQLite` has one writer, and whoever waits for himself is told so.
    fn refuse_second_writer(&self, chain: &Chain, side: Side, scope: Site) -> Result<(), Failure> {
        if self.engines[side.index()] != Engine::Sqlite {
            return Ok(());
        }
        let of_side = chain.frames.iter().rev().filter(|frame| frame.side == side);
        let mut open = of_side.filter_map(|frame| frame.level).map(|level| {
            let transaction = self.levels[level].transaction;
            &self.transactions[transaction]
        });
        match open.find(|it| it.state == State::Begun) {
            None => Ok(()),
            Some(outer) => Err(Failure::SecondWriter {
                function: scope.name,
                outer: outer.owner,
            }),
        }
    }

    /// A transaction that works under a lock keeps it.
    fn adopt(&mut self, locks: Vec<usize>, level: usize) {
        let transaction = self.transaction(level);
        for lock in locks {
            let kept = [&transaction.locks, &transaction.late];
            if kept.iter().any(|it| it.contains(&lock)) {
                continue;
            }
            if transaction.state == State::Begun {
                transaction.late.push(lock);
            } else {
                transaction.locks.push(lock);
            }
        }
    }

    /// What a chain holds: the locks around it, and those that its transactions keep.
    fn locks(&self, chain: &Chain) -> Vec<usize> {
        let levels = chain.frames.iter().filter_map(|frame| frame.level);
        let kept = levels.flat_map(|level| {
            let transaction = self.levels[level].transaction;
            let transaction = &self.transactions[transaction];
            transaction.locks.iter().chain(&transaction.late)
        });
        chain.locks.iter().chain(kept).copied().collect()
    }

    /// What reads by its snapshot is under no lock that came later: a statement that has one
    /// around it is refused. What others have locked is nothing to it.
    fn settle_locks(&mut self, chain: &Chain, level: usize, scope: Site) -> Result<(), Failure> {
        let transaction = self.transaction(level);
        let side = transaction.side;
        let late = std::mem::take(&mut transaction.late);
        if self.engines[side.index()] != Engine::MySql {
            self.transaction(level).locks.extend(late);
            return Ok(());
        }
        if late.iter().any(|lock| chain.locks.contains(lock)) {
            self.doom(level, scope, CauseKind::Statement, String::new());
            return Err(Failure::LockAfterSnapshot {
                function: scope.name,
                outer: self.owner(level),
            });
        }
        Ok(())
    }

    /// A statement sets the savepoints that it lies in.
    fn touch(&mut self, level: usize) {
        let touched = self.transaction(level).touched;
        let mut around = Some(level);
        while let Some(level) = around {
            let level = &mut self.levels[level];
            level.set_after_touch.get_or_insert(touched);
            around = level.outer;
        }
        self.transaction(level).touched = true;
    }

    fn visible(&mut self, level: usize) -> Vec<i64> {
        let transaction = self.levels[level].transaction;
        let side = self.transactions[transaction].side.index();
        let mut rows = self.committed[side].clone();
        if self.engines[side] == Engine::MySql {
            let snapshot = &mut self.transactions[transaction].snapshot;
            let fixed = snapshot.get_or_insert_with(|| rows.clone());
            rows.clone_from(fixed);
        }
        let own = self
            .levels
            .iter()
            .filter(|it| it.transaction == transaction);
        rows.extend(own.flat_map(|level| &level.rows));
        rows.into_iter().collect()
    }

    fn rollback_only(&mut self, chain: &Chain, side: Side) -> Result<(), Failure> {
        let frame = chain.find(side);
        let within = frame.and_then(|frame| Some((frame.level?, frame.scope)));
        let (level, scope) = within.ok_or(Failure::NoTransaction)?;
        self.doom(level, scope, CauseKind::RollbackOnly, reason(side));
        Ok(())
    }

    fn register(&mut self, chain: &Chain, hook: &Hook) -> Result<(), Failure> {
        let level = chain.level(hook.side).ok_or(Failure::NoTransaction)?;
        let number = self.hooks;
        self.hooks += 1;
        let transaction = self.levels[level].transaction;
        self.transaction_of.insert(hook.id, transaction);
        self.levels[level].hooks.push(Registered {
            hook: hook.clone(),
            number,
        });
        Ok(())
    }
}

// ----- leaving -----------------------------------------------------------------------------------

/// What a scope asks for at its end.
enum Wish {
    Keep {
        meant: Option<Failure>,
    },
    Undo(Failure),
    /// There is nobody left to ask: a panic, or a drop.
    Abandon(Stop),
}

impl Model {
    /// What the call gives back to its caller.
    fn leave(&mut self, call: &Call, entered: &Entered, stop: Stop) -> Stop {
        let wish = match stop {
            Stop::Well => Wish::Keep { meant: None },
            Stop::Failed(failure @ Failure::Benign(_)) if call.keeps_benign => Wish::Keep {
                meant: Some(failure),
            },
            Stop::Failed(failure) => Wish::Undo(failure),
            stop => Wish::Abandon(stop),
        };
        let by_hand = matches!(call.form, Form::Explicit(_));
        match entered.part {
            Part::Outside => self.leave_outside(by_hand, wish),
            Part::Joined(level) => self.leave_joined(level, entered.scope, by_hand, wish),
            Part::Owner(level) => self.leave_owned(entered, level, by_hand, wish),
            Part::Savepoint(level) => self.leave_savepoint(entered, level, by_hand, wish),
        }
    }

    fn leave_outside(&mut self, by_hand: bool, wish: Wish) -> Stop {
        match wish {
            Wish::Keep { meant } => Stop::of(meant.map_or(Ok(()), Err)),
            Wish::Undo(failure) => {
                if by_hand {
                    let undone = Event::UndoneByHand(Err(Failure::NoTransaction));
                    self.events.push(undone);
                }
                Stop::Failed(failure)
            }
            Wish::Abandon(stop) => stop,
        }
    }

    /// It can doom the transaction, and not end it.
    fn leave_joined(&mut self, level: usize, scope: Site, by_hand: bool, wish: Wish) -> Stop {
        match wish {
            Wish::Keep {
                meant: Some(benign),
            } => Stop::Failed(benign),
            Wish::Keep { meant: None } if by_hand => {
                Stop::of(self.refuse_doomed(level, scope.name))
            }
            Wish::Keep { meant: None } => Stop::Well,
            Wish::Undo(failure) => {
                self.doom(level, scope, CauseKind::Returned, String::new());
                if by_hand {
                    self.events.push(Event::UndoneByHand(Ok(())));
                }
                Stop::Failed(failure)
            }
            Wish::Abandon(stop) => {
                let panicked = matches!(stop, Stop::Panicked(_));
                let cause = if panicked {
                    CauseKind::Panicked
                } else {
                    CauseKind::Dropped
                };
                self.doom(level, scope, cause, String::new());
                stop
            }
        }
    }

    fn leave_owned(&mut self, entered: &Entered, level: usize, by_hand: bool, wish: Wish) -> Stop {
        match wish {
            Wish::Keep { meant } => Stop::of(self.commit(entered, level, meant)),
            Wish::Undo(failure) => {
                let hooks = self.roll_back(level);
                self.run_now(told(hooks, Completion::RolledBack).collect());
                if by_hand {
                    self.events.push(Event::UndoneByHand(Ok(())));
                }
                Stop::Failed(failure)
            }
            Wish::Abandon(stop) => {
                let hooks = self.roll_back(level);
                self.run_later(hooks);
                stop
            }
        }
    }

    fn commit(
        &mut self,
        entered: &Entered,
        level: usize,
        meant: Option<Failure>,
    ) -> Result<(), Failure> {
        let prevented = match self.verdict(level, entered.scope, meant.as_ref()) {
            Ok(()) => self.before_commit(entered, level, meant.as_ref()),
            prevented => prevented,
        };
        if let Err(failure) = prevented {
            let hooks = self.roll_back(level);
            self.run_now(told(hooks, Completion::RolledBack).collect());
            return Err(failure);
        }
        let rows = std::mem::take(&mut self.levels[level].rows);
        let transaction = self.transaction(level);
        transaction.state = State::Ended;
        let side = transaction.side;
        self.committed[side.index()].extend(rows);
        let late = std::mem::take(&mut self.levels[level].late);
        let hooks = std::mem::take(&mut self.levels[level].hooks);
        let mut due: Vec<_> = told(hooks, Completion::Committed).collect();
        due.extend(told(late, Completion::RolledBack));
        self.run_now(due);
        meant.map_or(Ok(()), Err)
    }

    /// Whether a level that is to be kept can be.
    fn verdict(&self, level: usize, scope: Site, meant: Option<&Failure>) -> Result<(), Failure> {
        let Some(doom) = self.doom_of(level) else {
            return Ok(());
        };
        // A function that is called by itself has asked for it itself.
        let asked = doom.cause == CauseKind::RollbackOnly && doom.by == scope;
        if asked {
            return Err(Failure::RolledBack {
                function: scope.name,
                reason: doom.reason.clone(),
                meant_benign: meant.is_some(),
            });
        }
        Err(Failure::UnexpectedRollback {
            function: scope.name,
            by: doom.by.name,
            cause: doom.cause,
            meant_benign: meant.is_some(),
        })
    }

    fn before_commit(
        &mut self,
        entered: &Entered,
        level: usize,
        meant: Option<&Failure>,
    ) -> Result<(), Failure> {
        let hooks = self.levels[level].hooks.iter().cloned();
        let due = hooks.filter(|it| it.hook.kind == HookKind::BeforeCommit);
        // No end that they could be told.
        let due = told(due.collect(), Completion::Unknown).collect();
        for (Registered { hook, .. }, _) in in_order(due) {
            let wrote = match hook.does {
                Does::Writes(id) => {
                    let ran = self.run(&entered.chain, hook.side, What::Insert(id));
                    Some(ran.map(drop))
                }
                Does::Nothing | Does::Fails => None,
            };
            let failed = matches!(hook.does, Does::Fails) || matches!(wrote, Some(Err(_)));
            self.events.push(Event::Hook {
                id: hook.id,
                completion: None,
                in_transaction: SIDES.map(|side| entered.chain.level(side).is_some()),
                wrote,
            });
            if failed {
                return Err(Failure::BeforeCommit {
                    function: entered.scope.name,
                    meant_benign: meant.is_some(),
                });
            }
        }
        Ok(())
    }

    fn leave_savepoint(
        &mut self,
        entered: &Entered,
        level: usize,
        by_hand: bool,
        wish: Wish,
    ) -> Stop {
        match wish {
            Wish::Keep { meant } => {
                if let Err(failure) = self.verdict(level, entered.scope, meant.as_ref()) {
                    let hooks = self.roll_back(level);
                    self.run_now(told(hooks, Completion::RolledBack).collect());
                    return Stop::Failed(failure);
                }
                self.release(level);
                Stop::of(meant.map_or(Ok(()), Err))
            }
            Wish::Undo(failure) => {
                let hooks = self.roll_back(level);
                self.run_now(told(hooks, Completion::RolledBack).collect());
                if by_hand {
                    self.events.push(Event::UndoneByHand(Ok(())));
                }
                Stop::Failed(failure)
            }
            Wish::Abandon(stop) => {
                // They run when what is around it is rolled back, or when all has ended.
                let hooks = self.roll_back(level);
                let outer = self.outer(level);
                self.levels[outer].late.extend(hooks);
                stop
            }
        }
    }

    /// The work of a savepoint becomes that of the level around it.
    fn release(&mut self, level: usize) {
        let rows = std::mem::take(&mut self.levels[level].rows);
        let hooks = std::mem::take(&mut self.levels[level].hooks);
        let late = std::mem::take(&mut self.levels[level].late);
        let outer = self.outer(level);
        self.levels[outer].rows.extend(rows);
        self.levels[outer].hooks.extend(hooks);
        self.levels[outer].late.extend(late);
    }

    fn outer(&self, level: usize) -> usize {
        self.levels[level]
            .outer
            .expect("a savepoint lies in something")
    }

    /// The hooks that are to be told so.
    fn roll_back(&mut self, level: usize) -> Vec<Registered> {
        if self.levels[level].outer.is_none() {
            self.transaction(level).state = State::Ended;
        }
        if self.levels[level].set_after_touch == Some(false) {
            // MariaDB then begins its transaction anew.
            let transaction = self.transaction(level);
            (transaction.snapshot, transaction.touched) = (None, false);
        }
        let level = &mut self.levels[level];
        level.rows.clear();
        let mut hooks = std::mem::take(&mut level.late);
        hooks.append(&mut level.hooks);
        hooks
    }
}

// ----- hooks after an end ------------------------------------------------------------------------

/// A hook, and the end that it is about.
type Due = (Registered, Completion);

fn told(hooks: Vec<Registered>, completion: Completion) -> impl Iterator<Item = Due> {
    hooks.into_iter().map(move |hook| (hook, completion))
}

/// Hooks of one kind, or of none in particular: by their order, then by their registration.
fn in_order(mut hooks: Vec<Due>) -> Vec<Due> {
    hooks.sort_by_key(|(it, _)| (it.hook.order, it.number));
    hooks
}

impl Model {
    fn run_now(&mut self, due: Vec<Due>) {
        let events = self.after(due);
        self.events.extend(events);
    }

    fn run_later(&mut self, hooks: Vec<Registered>) {
        let events = self.after(told(hooks, Completion::RolledBack).collect());
        self.left_to_do.push(events);
    }

    /// Those for the end that it was, then those for any.
    fn after(&mut self, due: Vec<Due>) -> Vec<Event> {
        let is_for = |kind, completion| match kind {
            HookKind::AfterCommit => completion == Completion::Committed,
            HookKind::AfterRollback => completion == Completion::RolledBack,
            HookKind::BeforeCommit | HookKind::AfterCompletion => false,
        };
        let (for_any, others): (Vec<_>, Vec<_>) = due
            .into_iter()
            .partition(|(it, _)| it.hook.kind == HookKind::AfterCompletion);
        let specific = others.into_iter();
        let specific = specific.filter(|(it, completion)| is_for(it.hook.kind, *completion));
        let mut due = in_order(specific.collect());
        due.extend(in_order(for_any));
        let events = due
            .into_iter()
            .map(|(Registered { hook, .. }, completion)| Event::Hook {
                id: hook.id,
                completion: (hook.kind == HookKind::AfterCompletion).then_some(completion),
                in_transaction: [false; 2],
                wrote: self.write_after(&hook),
            });
        events.collect()
    }

    /// In a transaction of its own.
    fn write_after(&mut self, hook: &Hook) -> Option<Result<(), Failure>> {
        let Does::Writes(id) = hook.does else {
            return None;
        };
        if self.engines[hook.side.index()] == Engine::Sqlite {
            let mut open = self.transactions.iter().filter(|it| it.side == hook.side);
            if let Some(outer) = open.find(|it| it.state == State::Begun) {
                return Some(Err(Failure::SecondWriter {
                    function: "hook",
                    outer: outer.owner,
                }));
            }
        }
        self.committed[hook.side.index()].insert(id);
        Some(Ok(()))
    }
}
