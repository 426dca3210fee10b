//! A tree of scopes: a program of nothing but transactions, and how it reads.

use std::fmt;

use tx_runtime::{HookKind, Propagation};

/// One of the two databases of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

pub(crate) const SIDES: [Side; 2] = [Side::Left, Side::Right];

/// Where the thing of a side stands among those of both.
impl Side {
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Left => 0,
            Self::Right => 1,
        }
    }
}

/// A whole program. It begins outside of every scope.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) body: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Statement(Statement),
    /// Asks in what kind of scope it is.
    Look(Side),
    RollbackOnly(Side),
    Hook(Hook),
    Call(Call),
    /// Two calls in one `join!`.
    Together(Pace, Box<[Call; 2]>),
}

#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) side: Side,
    pub(crate) what: What,
    /// Whether its failure is ignored; otherwise it is passed on.
    pub(crate) swallowed: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// A row that nobody else inserts.
    Insert(i64),
    /// A row that is there.
    Duplicate,
    Select,
}

#[derive(Clone, Debug)]
pub(crate) struct Hook {
    pub(crate) id: usize,
    pub(crate) side: Side,
    pub(crate) kind: HookKind,
    pub(crate) order: i32,
    pub(crate) does: Does,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    Nothing,
    Fails,
    /// Inserts a row: before the commit in the transaction, after it in one of its own.
    Writes(i64),
}

/// How the two calls of a `join!` go on, once both are in their scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The second one's body begins when the first call is over.
    InTurn,
    /// A step of the one, a step of the other; they have no calls of their own.
    Alternating,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) number: usize,
    pub(crate) side: Side,
    pub(crate) form: Form,
    /// Whether a lock of its own is held around it.
    pub(crate) locked: bool,
    /// Whether it commits for [`End::Benign`].
    pub(crate) keeps_benign: bool,
    pub(crate) body: Vec<Step>,
    pub(crate) end: End,
    /// Whether the caller goes on whatever becomes of it: an error and a panic are caught, and
    /// what hangs is dropped. Otherwise the caller shares its fate.
    pub(crate) caught: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Closure(Propagation),
    /// `db.savepoint(..)`
    Savepoint,
    /// A function under `#[transactional]`.
    Annotated(Propagation),
    /// `db.begin_with(..)`, `within` and, by the body's result, `commit` or `rollback`.
    Explicit(Propagation),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Ok,
    Fails,
    /// An error that some scopes commit for.
    Benign,
    Panics,
    /// Never comes back, so that somebody further out drops it here.
    Hangs,
}

impl Call {
    pub(crate) const fn mode(&self) -> Propagation {
        match self.form {
            Form::Closure(mode) | Form::Annotated(mode) | Form::Explicit(mode) => mode,
            Form::Savepoint => Propagation::Nested,
        }
    }

    /// Whether it may hang until its caller, or somebody further out, drops it.
    pub(crate) fn hangs(&self) -> bool {
        self.end == End::Hangs
            || self.body.iter().any(|step| match step {
                Step::Call(call) => !call.caught && call.hangs(),
                Step::Together(_, calls) => calls.iter().any(|it| !it.caught && it.hangs()),
                _ => false,
            })
    }

    /// What errors call it.
    pub(crate) fn name(&self) -> &'static str {
        match self.form {
            Form::Closure(_) | Form::Explicit(_) => name_of(self.number),
            Form::Savepoint => "savepoint",
            Form::Annotated(_) => "annotated",
        }
    }
}

/// `s0`, `s1` and so on, which the options of a scope want for ever.
fn name_of(number: usize) -> &'static str {
    use std::sync::{Mutex, PoisonError};
    static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    while names.len() <= number {
        let name = format!("s{}", names.len());
        names.push(name.leak());
    }
    names[number]
}

// ----- how it reads ------------------------------------------------------------------------

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_body(f, &self.body, 0)
    }
}

fn write_body(f: &mut fmt::Formatter<'_>, body: &[Step], depth: usize) -> fmt::Result {
    body.iter().try_for_each(|step| write_step(f, step, depth))
}

fn write_step(f: &mut fmt::Formatter<'_>, step: &Step, depth: usize) -> fmt::Result {
    let indent = "    ".repeat(depth);
    match step {
        Step::Statement(statement) => {
            let Statement {
                side,
                what,
                swallowed,
            } = statement;
            let after = if *swallowed { "" } else { "?" };
            writeln!(f, "{indent}{side}.{what}{after};")
        }
        Step::Look(side) => writeln!(f, "{indent}{side}.look();"),
        Step::RollbackOnly(side) => writeln!(f, "{indent}{side}.set_rollback_only();"),
        Step::Hook(hook) => {
            let Hook {
                id,
                side,
                kind,
                order,
                does,
            } = hook;
            writeln!(
                f,
                "{indent}{side}.hook_order({order}).{kind}(h{id}: {does});"
            )
        }
        Step::Call(call) => write_call(f, call, depth),
        Step::Together(pace, calls) => {
            let how = match pace {
                Pace::InTurn => "the second after the first",
                Pace::Alternating => "step by step",
            };
            writeln!(f, "{indent}join! {{ // {how}")?;
            for call in &**calls {
                write_call(f, call, depth + 1)?;
            }
            writeln!(f, "{indent}}}")
        }
    }
}

fn write_call(f: &mut fmt::Formatter<'_>, call: &Call, depth: usize) -> fmt::Result {
    let indent = "    ".repeat(depth);
    let Call {
        number, side, form, ..
    } = call;
    let caught = if call.caught { "caught " } else { "" };
    let locked = if call.locked { "under a lock, " } else { "" };
    let keeps = if call.keeps_benign {
        ", no_rollback_for Benign"
    } else {
        ""
    };
    writeln!(
        f,
        "{indent}{caught}s{number}: {locked}{side}.{form}{keeps} {{"
    )?;
    write_body(f, &call.body, depth + 1)?;
    let end = match call.end {
        End::Ok => "Ok",
        End::Fails => "Err(Own)",
        End::Benign => "Err(Benign)",
        End::Panics => "panic!()",
        End::Hangs => "pending().await",
    };
    writeln!(f, "{indent}    {end}")?;
    writeln!(f, "{indent}}}")
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Right => "right",
        })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Insert(id) => write!(f, "insert({id})"),
            Self::Duplicate => f.write_str("insert(a duplicate)"),
            Self::Select => f.write_str("select()"),
        }
    }
}

impl fmt::Display for Does {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Fails => f.write_str("fails"),
            Self::Writes(id) => write!(f, "inserts {id}"),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closure(mode) => write!(f, "transaction_with({mode})"),
            Self::Savepoint => f.write_str("savepoint()"),
            Self::Annotated(mode) => write!(f, "#[transactional({mode})]"),
            Self::Explicit(mode) => write!(f, "begin_with({mode}).within()"),
        }
    }
}
