//! Random trees: small ones mostly, and all that a scope can meet in each of them sometimes.

use tx_runtime::{HookKind, Propagation};
use tx_tests::Dice;

use crate::engine::Engine;
use crate::tree::{Call, Does, End, Form, Hook, Pace, SIDES, Side, Statement, Step, Tree, What};

/// How deep scopes lie in each other.
const DEPTH: usize = 5;

/// How many steps a body has at most.
const WIDTH: usize = 4;

/// Modes, the more often the more can happen in them.
const MODES: [Propagation; 20] = [
    Propagation::Required,
    Propagation::Required,
    Propagation::Required,
    Propagation::Required,
    Propagation::Required,
    Propagation::Nested,
    Propagation::Nested,
    Propagation::Nested,
    Propagation::Nested,
    Propagation::RequiresNew,
    Propagation::RequiresNew,
    Propagation::RequiresNew,
    Propagation::Isolated,
    Propagation::Isolated,
    Propagation::Mandatory,
    Propagation::Mandatory,
    Propagation::Supports,
    Propagation::NotSupported,
    Propagation::NotSupported,
    Propagation::Never,
];

/// The tree of a seed, for databases of these kinds.
pub(crate) fn grow(seed: u64, engines: [Engine; 2]) -> Tree {
    let mut dice = Dice::new(seed);
    let left = match dice.roll(8) {
        0 => 10 + dice.pick(20),
        1 | 2 => 6 + dice.pick(6),
        _ => 2 + dice.pick(5),
    };
    let mut gardener = Gardener {
        dice,
        engines,
        left,
        calls: 0,
        hooks: 0,
        rows: 0,
    };
    let body = gardener.top();
    Tree { body }
}

struct Gardener {
    dice: Dice,
    engines: [Engine; 2],
    /// How many steps the tree may still get.
    left: usize,
    calls: usize,
    hooks: usize,
    rows: i64,
}

impl Gardener {
    fn top(&mut self) -> Vec<Step> {
        let mut body = Vec::new();
        while body.len() < WIDTH && self.left > 0 {
            self.left -= 1;
            body.push(match self.dice.roll(20) {
                0 => self.plain(),
                1 => self.together(1),
                _ => Step::Call(self.call(1)),
            });
        }
        body
    }

    fn body(&mut self, depth: usize) -> Vec<Step> {
        let wished = self.dice.pick(WIDTH + 1);
        let mut body = Vec::new();
        while body.len() < wished && self.left > 0 {
            self.left -= 1;
            body.push(match self.dice.roll(20) {
                0 if depth < DEPTH => self.together(depth + 1),
                1..=8 if depth < DEPTH => Step::Call(self.call(depth + 1)),
                _ => self.plain(),
            });
        }
        body
    }

    /// A step without a scope in it.
    fn plain(&mut self) -> Step {
        let side = self.side();
        match self.dice.roll(20) {
            0..=7 => {
                let what = What::Insert(self.row());
                self.statement(side, what)
            }
            8..=10 => self.statement(side, What::Select),
            11 | 12 => self.statement(side, What::Duplicate),
            13 => Step::RollbackOnly(side),
            14 => Step::Look(side),
            _ => Step::Hook(self.hook(side)),
        }
    }

    fn statement(&mut self, side: Side, what: What) -> Step {
        Step::Statement(Statement {
            side,
            what,
            swallowed: self.dice.happens(50),
        })
    }

    fn hook(&mut self, side: Side) -> Hook {
        let id = self.hooks;
        self.hooks += 1;
        let kind = self.dice.one_of(&[
            HookKind::BeforeCommit,
            HookKind::AfterCommit,
            HookKind::AfterRollback,
            HookKind::AfterCompletion,
        ]);
        let does = match self.dice.roll(10) {
            0 => Does::Fails,
            1 => Does::Writes(self.row()),
            _ => Does::Nothing,
        };
        let order = self.dice.one_of(&[0, 0, 0, 0, -1, 5]);
        Hook {
            id,
            side,
            kind,
            order,
            does,
        }
    }

    fn call(&mut self, depth: usize) -> Call {
        let form = match self.dice.roll(20) {
            0..=2 => Form::Savepoint,
            3..=5 => Form::Annotated(self.dice.one_of(&MODES)),
            6..=8 => Form::Explicit(self.dice.one_of(&MODES)),
            _ => Form::Closure(self.dice.one_of(&MODES)),
        };
        self.call_of(form, |gardener| gardener.body(depth))
    }

    fn call_of(&mut self, form: Form, body: impl FnOnce(&mut Self) -> Vec<Step>) -> Call {
        let number = self.calls;
        self.calls += 1;
        let side = self.side();
        let body = body(self);
        let end = match self.dice.roll(100) {
            0..=14 => End::Fails,
            15..=24 => End::Benign,
            25..=31 => End::Panics,
            32..=39 => End::Hangs,
            _ => End::Ok,
        };
        let locked = match form {
            Form::Closure(Propagation::Isolated)
            | Form::Annotated(Propagation::Isolated)
            | Form::Explicit(Propagation::Isolated) => self.dice.happens(75),
            Form::Closure(Propagation::RequiresNew) => self.dice.happens(15),
            _ => self.dice.happens(5),
        };
        let ruled = matches!(form, Form::Closure(_) | Form::Annotated(_));
        Call {
            number,
            side,
            form,
            locked,
            keeps_benign: ruled && self.dice.happens(25),
            body,
            end,
            caught: self.dice.happens(60),
        }
    }

    fn together(&mut self, depth: usize) -> Step {
        if self.dice.happens(50) {
            let mut calls = [self.call(depth), self.call(depth)];
            for call in &mut calls {
                // Otherwise the second one waits for what the first one holds for ever.
                call.caught |= call.hangs();
            }
            return Step::Together(Pace::InTurn, Box::new(calls));
        }
        // None of them waits for the other: that would be a wait for this test's own pace.
        let all: &[Propagation] = if self.engines.contains(&Engine::Sqlite) {
            &[Propagation::Mandatory, Propagation::Supports]
        } else {
            &[
                Propagation::Required,
                Propagation::RequiresNew,
                Propagation::Mandatory,
                Propagation::Supports,
                Propagation::NotSupported,
            ]
        };
        let calls = [(); 2].map(|()| {
            let form = Form::Closure(self.dice.one_of(all));
            self.call_of(form, Self::plain_body)
        });
        Step::Together(Pace::Alternating, Box::new(calls))
    }

    fn plain_body(&mut self) -> Vec<Step> {
        let steps = 1 + self.dice.pick(WIDTH);
        (0..steps).map(|_| self.plain()).collect()
    }

    fn side(&mut self) -> Side {
        if self.dice.happens(80) {
            SIDES[0]
        } else {
            SIDES[1]
        }
    }

    fn row(&mut self) -> i64 {
        self.rows += 1;
        self.rows
    }
}
