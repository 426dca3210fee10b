//! A tree as a program on real databases, and what was seen of it.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tx_runtime::HookKind;

use crate::event::{Account, Ending, Event, Failure};
use crate::model::ROOT;
use crate::place::{Action, Body, Place, THERE};
use crate::problem::Problem;
use crate::tree::{Call, Does, End, Hook, Pace, SIDES, Side, Statement, Step, Tree, What};

pub(crate) type Places = [Arc<dyn Place>; 2];

/// What is seen of a program, and how its rows are told from those of others.
#[derive(Clone)]
struct Witness {
    events: Arc<Mutex<Vec<Event>>>,
    /// Added to the ids of the tree.
    base: i64,
}

impl Witness {
    fn note(&self, event: Event) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event);
    }

    fn own(&self, rows: Vec<i64>) -> Vec<i64> {
        rows.into_iter().map(|id| id - self.base).collect()
    }
}

/// Runs `tree`; its rows get ids above `base`.
pub(crate) async fn run(tree: &Tree, places: &Places, base: i64) -> Account {
    let witness = Witness {
        events: Arc::default(),
        base,
    };
    let program = Program {
        places,
        witness: witness.clone(),
    };
    let hang = Hang::default();
    let body = program.body(&tree.body, &hang, None);
    let how = contained(body, &hang).await;
    if how != Ending::Returned(Ok(())) {
        program.come_back(ROOT, how).await;
    }
    let mut stored = [Vec::new(), Vec::new()];
    for side in SIDES {
        stored[side.index()] = witness.own(places[side.index()].stored().await);
    }
    let events = std::mem::take(
        &mut *witness
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
    );
    Account { events, stored }
}

/// Whether something is under way that never ends, so that somebody has to drop it.
#[derive(Clone, Default)]
struct Hang(Rc<Cell<bool>>);

impl Hang {
    async fn here(&self) -> ! {
        self.0.set(true);
        pending().await
    }

    fn is_there(&self) -> bool {
        self.0.get()
    }
}

/// Polls `work` to its end, or until it hangs: then it is still there, and gives `None`.
async fn until_it_hangs<T>(
    mut work: Pin<&mut (impl Future<Output = T> + ?Sized)>,
    hang: &Hang,
) -> Option<T> {
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if hang.is_there() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Catches whatever becomes of `work`; it is gone when this returns.
async fn contained(mut work: Body<'_>, hang: &Hang) -> Ending {
    let watched = until_it_hangs(work.as_mut(), hang);
    match AssertUnwindSafe(watched).catch_unwind().await {
        Ok(Some(result)) => Ending::Returned(told(&result)),
        Ok(None) => Ending::Dropped,
        Err(panic) => match panic.downcast::<usize>() {
            Ok(call) => Ending::Panicked(*call),
            Err(panic) => resume_unwind(panic),
        },
    }
}

fn told(result: &Result<(), Problem>) -> Result<(), Failure> {
    result.as_ref().map_err(Failure::from).copied()
}

struct Program<'p> {
    places: &'p Places,
    witness: Witness,
}

impl Program<'_> {
    fn place(&self, side: Side) -> &dyn Place {
        &*self.places[side.index()]
    }

    fn note(&self, event: Event) {
        self.witness.note(event);
    }

    fn body<'b>(&'b self, body: &'b [Step], hang: &'b Hang, seat: Option<&'b Seat>) -> Body<'b> {
        Box::pin(async move {
            for step in body {
                wait_for_turn(seat).await;
                self.step(step, hang).await?;
                pass_turn(seat);
            }
            wait_for_turn(seat).await;
            Ok(())
        })
    }

    fn step<'b>(&'b self, step: &'b Step, hang: &'b Hang) -> Body<'b> {
        Box::pin(async move {
            match step {
                Step::Statement(statement) => return self.statement(statement).await,
                Step::Look(side) => self.note(self.place(*side).look()),
                Step::RollbackOnly(side) => {
                    let done = self.place(*side).rollback_only(*side);
                    self.note(Event::RollbackOnly(done));
                }
                Step::Hook(hook) => {
                    let done = self.place(hook.side).register(hook, self.action(hook));
                    self.note(Event::Registered(hook.id, done));
                }
                Step::Call(call) => return self.call(call, hang, None).await,
                Step::Together(pace, calls) => return self.together(*pace, calls, hang).await,
            }
            Ok(())
        })
    }

    async fn statement(&self, statement: &Statement) -> Result<(), Problem> {
        let place = self.place(statement.side);
        let ran = match statement.what {
            What::Insert(id) => {
                let done = place.insert_or(self.witness.base + id).await;
                done.map(|()| Vec::new())
            }
            What::Duplicate => place.insert_or(THERE).await.map(|()| Vec::new()),
            What::Select => place.select().await.map(|rows| self.witness.own(rows)),
        };
        self.note(Event::Ran(ran.as_ref().map_err(Failure::from).cloned()));
        match ran {
            Err(problem) if !statement.swallowed => Err(problem),
            _ => Ok(()),
        }
    }

    async fn call(&self, call: &Call, hang: &Hang, seat: Option<&Seat>) -> Result<(), Problem> {
        if !call.caught {
            let result = self.scope(call, hang, seat).await;
            let how = Ending::Returned(told(&result));
            self.note(Event::Ended {
                call: call.number,
                how,
            });
            return result;
        }
        let hang = Hang::default();
        let how = contained(self.scope(call, &hang, seat), &hang).await;
        self.come_back(call.number, how).await;
        Ok(())
    }

    async fn come_back(&self, call: usize, how: Ending) {
        let settles = !matches!(how, Ending::Returned(_));
        self.note(Event::Ended { call, how });
        if settles {
            for place in self.places {
                place.drain().await;
            }
            self.note(Event::Settled);
        }
    }

    fn scope<'b>(&'b self, call: &'b Call, hang: &'b Hang, seat: Option<&'b Seat>) -> Body<'b> {
        let body = Box::pin(async move {
            if let Some(seat) = seat {
                seat.wait_for_both().await;
            }
            self.body(&call.body, hang, seat).await?;
            match call.end {
                End::Ok => Ok(()),
                End::Fails => Err(Problem::Own(call.number)),
                End::Benign => Err(Problem::Benign(call.number)),
                // Without the panic hook and its message.
                End::Panics => resume_unwind(Box::new(call.number)),
                End::Hangs => hang.here().await,
            }
        });
        let scope: Body<'b> = Box::pin(async move {
            let note = |event| self.note(event);
            self.place(call.side).scope(call, body, &note).await
        });
        scope
    }

    fn action(&self, hook: &Hook) -> Action {
        let (witness, places, hook) = (self.witness.clone(), self.places.clone(), hook.clone());
        Box::new(move |completion| {
            Box::pin(async move {
                let in_transaction = [&places[0], &places[1]].map(|it| it.is_in_transaction());
                let wrote = write(&hook, &places, &witness).await;
                let failed = matches!(hook.does, Does::Fails) || matches!(wrote, Some(Err(_)));
                let told = hook.kind == HookKind::AfterCompletion;
                witness.note(Event::Hook {
                    id: hook.id,
                    completion: told.then_some(completion),
                    in_transaction,
                    wrote,
                });
                if failed {
                    Err("as it should".into())
                } else {
                    Ok(())
                }
            })
        })
    }

    async fn together(&self, pace: Pace, calls: &[Call; 2], hang: &Hang) -> Result<(), Problem> {
        let turns = watch::Sender::new(Turns::default());
        let seats = [0, 1].map(|at| Seat {
            at,
            pace,
            turns: turns.clone(),
        });
        let hangs = [Hang::default(), Hang::default()];
        let (results, _still_there) = {
            let [first, second] = calls;
            let mut both: (Body<'_>, Body<'_>) = (
                Box::pin(self.call(first, &hangs[0], Some(&seats[0]))),
                Box::pin(self.call(second, &hangs[1], Some(&seats[1]))),
            );
            let results = tokio::join!(
                seats[0].taken(until_it_hangs(both.0.as_mut(), &hangs[0])),
                seats[1].taken(until_it_hangs(both.1.as_mut(), &hangs[1])),
            );
            (results, both)
        };
        let (Some(first), Some(second)) = results else {
            hang.here().await
        };
        first.and(second)
    }
}

async fn write(hook: &Hook, places: &Places, witness: &Witness) -> Option<Result<(), Failure>> {
    let Does::Writes(id) = hook.does else {
        return None;
    };
    let (place, id) = (&places[hook.side.index()], witness.base + id);
    Some(match hook.kind {
        HookKind::BeforeCommit => place.insert(id).await,
        _ => place.insert_apart(id).await,
    })
}

// ----- the branches of a `join!` --------------------------------------------------------------------

#[derive(Default)]
struct Turns {
    inside: [bool; 2],
    /// Whether it is over, or hangs.
    over: [bool; 2],
    turn: usize,
}

/// The place of one branch among the two.
struct Seat {
    at: usize,
    pace: Pace,
    turns: watch::Sender<Turns>,
}

impl Seat {
    /// Runs the branch, and says when it is over or hangs.
    async fn taken<T>(&self, branch: impl Future<Output = T>) -> T {
        let output = branch.await;
        self.turns.send_modify(|turns| turns.over[self.at] = true);
        output
    }

    /// Waits until the other branch is in its scope as well, or was not let in.
    async fn wait_for_both(&self) {
        let other = 1 - self.at;
        self.turns.send_modify(|turns| turns.inside[self.at] = true);
        self.until(|turns| turns.inside[other] || turns.over[other])
            .await;
    }

    async fn until(&self, holds: impl FnMut(&Turns) -> bool) {
        let mut turns = self.turns.subscribe();
        turns.wait_for(holds).await.expect("the seat has a sender");
    }
}

async fn wait_for_turn(seat: Option<&Seat>) {
    let Some(seat) = seat else { return };
    let (at, other) = (seat.at, 1 - seat.at);
    seat.until(|turns| turns.turn == at || turns.over[other])
        .await;
}

fn pass_turn(seat: Option<&Seat>) {
    if let Some(seat) = seat
        && seat.pace == Pace::Alternating
    {
        seat.turns.send_modify(|turns| turns.turn = 1 - seat.at);
    }
}
