//! One acquisition: tickets are drawn, and wait until they are the first in their lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::hold::TicketHold;
use super::lines::Place;
use super::office::{Said, failure, number};
use super::process::Presence;
use super::sql::{self, Asking, Ending};
use super::{Counter, Terms};
use crate::dialect::{Dialect, Framed};
use crate::error::Error;
use crate::lock::{Fence, LockFailure, LockRequest};
use crate::site::Site;

/// Tickets that were asked for. Dropped, they are given up.
pub(super) struct Drawn<DB: Dialect> {
    pub(super) counter: Counter<DB>,
    pub(super) asking: Asking,
    pub(super) keys: Vec<Arc<str>>,
    pub(super) function: Site,
    presence: Presence<DB>,
    /// Whether they have ended otherwise.
    ended: AtomicBool,
}

/// How it stands with tickets.
enum Standing {
    /// They run, with these tokens.
    Running(Vec<i64>),
    Waiting,
    /// Others took this process for dead, and declared them abandoned.
    GivenUp,
}

/// What a look at the lines has shown.
enum Sight {
    Free,
    /// Some before us belong to processes that are gone, and are in the way of all.
    Orphaned,
    /// By whom, in words.
    Taken(String),
    GivenUp,
}

impl<DB: Dialect> Drawn<DB> {
    pub(super) fn is_over(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Ends the tickets; `false` if they had ended otherwise before.
    pub(super) async fn end(self: &Arc<Self>, ending: Ending) -> Result<bool, LockFailure> {
        let end = sql::end::<DB>(self.asking, &ending);
        let state = ending.state;
        let told = self.counter.office.tell(self.function, end, ()).await;
        self.is_over();
        match told {
            Ok(said) => Ok(said.rows.len() == self.asking.tickets
                && said.rows.iter().all(|row| row[1].as_deref() == Some(state))),
            Err(error) => {
                self.presence.leave(self.asking, ending);
                Err(self.failed(error))
            }
        }
    }

    pub(super) fn failed(&self, error: Error) -> LockFailure {
        failure::<DB>(error, self.function, &self.keys.join("`, `"))
    }

    async fn told(self: &Arc<Self>, message: Framed) -> Result<(Standing, Said), LockFailure> {
        let told = self
            .counter
            .office
            .tell(self.function, message, Arc::clone(self));
        let said = told.await.map_err(|error| self.failed(error))?;
        Ok((self.standing(&said), said))
    }

    fn standing(&self, said: &Said) -> Standing {
        let are = |state: &str| {
            said.rows.len() == self.asking.tickets
                && said.rows.iter().all(|row| row[1].as_deref() == Some(state))
        };
        if are("RUNNING") {
            Standing::Running(
                said.rows
                    .iter()
                    .filter_map(|row| number(row.get(2)))
                    .collect(),
            )
        } else if are("WAITING") {
            Standing::Waiting
        } else {
            Standing::GivenUp
        }
    }

    async fn look(&self) -> Result<Sight, LockFailure> {
        let look = sql::look::<DB>(self.asking);
        let said = self.counter.office.ask(self.function, look).await;
        let said = said.map_err(|error| self.failed(error))?;
        let (mine, before): (Vec<_>, Vec<_>) = said
            .rows
            .into_iter()
            .partition(|row| row[0].as_deref() == Some("mine"));
        let waiting = |row: &Vec<Option<String>>| row[1].as_deref() == Some("WAITING");
        if mine.len() != self.asking.tickets || !mine.iter().all(waiting) {
            return Ok(Sight::GivenUp);
        }
        Ok(match before.first() {
            None => Sight::Free,
            Some(row) if row[0].as_deref() == Some("gone") => Sight::Orphaned,
            Some(row) => Sight::Taken(in_words(row)),
        })
    }

    /// Waits for the turn: the tokens, or `None` if the tickets were given up by others.
    async fn wait(
        self: &Arc<Self>,
        place: Place,
        until: Instant,
    ) -> Result<Option<Vec<i64>>, LockFailure> {
        let Terms { poll, .. } = self.counter.terms;
        let mut called = false;
        let mut holder = None;
        loop {
            let calls = place.called();
            let left = until.saturating_duration_since(Instant::now());
            let front = place.is_in_front();
            if front || left.is_zero() {
                // Whoever is called need not look first.
                let sight = if called && front {
                    Sight::Free
                } else {
                    self.look().await?
                };
                let claim = |over| {
                    let terms = self.counter.terms;
                    self.told(sql::claim::<DB>(self.asking, &self.keys, terms, over))
                };
                let standing = match sight {
                    Sight::Free => claim(false).await?.0,
                    Sight::Orphaned => match claim(true).await?.0 {
                        // Who else is before us shows at once.
                        Standing::Waiting => continue,
                        other => other,
                    },
                    Sight::GivenUp => Standing::GivenUp,
                    Sight::Taken(by) => {
                        holder = Some(by);
                        Standing::Waiting
                    }
                };
                match standing {
                    Standing::Running(tokens) => return Ok(Some(tokens)),
                    Standing::GivenUp => return Ok(None),
                    Standing::Waiting => {}
                }
            }
            if left.is_zero() {
                return Err(LockFailure::Busy { holder });
            }
            let pause = if front { poll.min(left) } else { left };
            called = timeout(pause, calls).await.is_ok();
        }
    }
}

impl<DB: Dialect> Drop for Drawn<DB> {
    fn drop(&mut self) {
        if !*self.ended.get_mut() {
            self.presence.leave(self.asking, Ending::given_up(None));
        }
    }
}

impl Ending {
    pub(super) fn given_up(error: Option<String>) -> Self {
        Self {
            state: "CANCELLED",
            error,
            waiting: true,
        }
    }
}

/// Draws tickets for a request and waits until they run.
pub(super) async fn draw<DB: Dialect>(
    counter: Counter<DB>,
    request: LockRequest<'_>,
) -> Result<TicketHold<DB>, LockFailure> {
    let until = Instant::now() + request.wait.min(LONGEST_WAIT);
    loop {
        let drawn = ask(&counter, &request).await?;
        let label = request.label.unwrap_or(request.function.name());
        let owner = format!("{} in {}", request.function, counter.name);
        let (asking, terms) = (drawn.asking, counter.terms);
        let ask = sql::ask::<DB>(asking, request.keys, label, &owner, terms);
        let (standing, said) = drawn.told(ask).await?;
        let tokens = match standing {
            Standing::Running(tokens) => Some(tokens),
            Standing::GivenUp => None,
            Standing::Waiting => {
                let ids = said.rows.iter().filter_map(|row| number(row.first()));
                let tickets = drawn.keys.iter().cloned().zip(ids).collect();
                let place = counter.lines.stand(tickets);
                match drawn.wait(place, until).await {
                    Err(LockFailure::Busy { holder }) => {
                        let text = format!("not free within {:?}", request.wait);
                        // What cannot be written down now is so later.
                        drop(drawn.end(Ending::given_up(Some(text))).await);
                        return Err(LockFailure::Busy { holder });
                    }
                    waited => waited?,
                }
            }
        };
        let Some(tokens) = tokens else {
            // As if it had not asked before: behind all who are there now.
            drawn.is_over();
            drawn.presence.forget();
            continue;
        };
        let fences = drawn.keys.iter().cloned().zip(tokens);
        let fences = fences.map(|(key, token)| Fence { key, token });
        return Ok(TicketHold::new(fences.collect(), drawn));
    }
}

/// More is no bound.
const LONGEST_WAIT: Duration = Duration::from_hours(24 * 365);

async fn ask<DB: Dialect>(
    counter: &Counter<DB>,
    request: &LockRequest<'_>,
) -> Result<Arc<Drawn<DB>>, LockFailure> {
    let entered = counter.process.enter(request.function).await;
    let presence = entered
        .map_err(|error| failure::<DB>(error, request.function, &request.keys.join("`, `")))?;
    Ok(Arc::new(Drawn {
        counter: counter.clone(),
        asking: presence.request(request.keys.len()),
        keys: request.keys.to_vec(),
        function: request.function,
        presence,
        ended: AtomicBool::new(false),
    }))
}

/// Who is before us: state, owner, label, microseconds since it began, whether it is overdue.
fn in_words(row: &[Option<String>]) -> String {
    let text = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
    let (owner, label) = (text(2), text(3));
    match number(row.get(4)) {
        Some(micros) => {
            let running = Duration::from_micros(micros.unsigned_abs());
            let overdue = match number(row.get(5)) {
                Some(1) => ", which is longer than its deadline",
                _ => "",
            };
            format!("`{label}` of {owner}, for {running:?}{overdue}")
        }
        None => format!("nobody, with `{label}` of {owner} the next in line"),
    }
}
