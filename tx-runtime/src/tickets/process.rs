//! This process, as the others see it: a row that says that it is alive, and a task that keeps
//! saying so for as long as it has tickets.
//!
//! The heartbeat is in a row of its own and not in the tickets. A transaction above READ
//! COMMITTED could otherwise not set its ticket to DONE: the row would have changed since its
//! snapshot. And it is one row that is updated, however many tickets there are.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::office::{Office, Said, number};
use super::sql::{self, Asking, Ending};
use crate::dialect::Dialect;
use crate::error::Error;
use crate::lock::{random, this_process};
use crate::site::Site;

const FUNCTION: Site = Site::new("the heartbeat of tickets", "", 0);

/// The process that draws tickets.
pub(super) struct Process<DB: Dialect> {
    office: Office<DB>,
    lease: Duration,
    requests: AtomicI64,
    /// Whoever registers the process does so alone.
    registering: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Told when there is an ending to see to.
    errands: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Known to the others by this number, as long as the heart beats.
    id: Option<i64>,
    tickets: usize,
    /// Endings that nobody waits for.
    endings: Vec<(Asking, Ending)>,
}

/// Keeps the process alive in the eyes of others.
pub(super) struct Presence<DB: Dialect> {
    process: Arc<Process<DB>>,
    id: i64,
}

impl<DB: Dialect> Process<DB> {
    pub(super) fn new(office: Office<DB>, lease: Duration) -> Arc<Self> {
        Arc::new(Self {
            office,
            lease,
            requests: AtomicI64::new(1),
            registering: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            errands: Notify::new(),
        })
    }

    /// Makes sure that others see this process, for `function`, which wants a ticket.
    pub(super) async fn enter(self: &Arc<Self>, function: Site) -> Result<Presence<DB>, Error> {
        let _alone = self.registering.lock().await;
        if let Some(presence) = self.present() {
            return Ok(presence);
        }
        let id = i64::from_be_bytes(random().to_be_bytes()) & i64::MAX;
        let register = sql::register::<DB>(id, &this_process(), self.lease);
        self.office.tell(function, register, ()).await?;
        self.state().id = Some(id);
        Handle::current().spawn(Heart(Arc::clone(self), id).beat());
        let presence = self.present();
        presence.ok_or(Error::Database(sqlx::Error::WorkerCrashed))
    }

    fn present(self: &Arc<Self>) -> Option<Presence<DB>> {
        let mut state = self.state();
        let id = state.id?;
        state.tickets += 1;
        Some(Presence {
            process: Arc::clone(self),
            id,
        })
    }

    /// Leaves an ending to the process: it is seen to as soon as the database allows.
    pub(super) fn leave(&self, asking: Asking, ending: Ending) {
        self.state().endings.push((asking, ending));
        self.errands.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to the endings that were left to the process; `false` if some are left.
    async fn run_errands(&self) -> bool {
        loop {
            let Some((asking, ending)) = self.state().endings.first().cloned() else {
                return true;
            };
            let end = sql::end::<DB>(asking, &ending);
            if let Err(error) = self.office.tell(FUNCTION, end, ()).await {
                tracing::warn!(%error, "the end of a ticket could not be written down yet");
                return false;
            }
            self.state().endings.retain(|(other, _)| *other != asking);
        }
    }

    /// Whether the process has had nothing to be alive for.
    fn is_idle(&self) -> bool {
        let state = self.state();
        state.tickets == 0 && state.endings.is_empty()
    }
}

impl<DB: Dialect> Presence<DB> {
    /// A number for a further request.
    pub(super) fn request(&self, tickets: usize) -> Asking {
        Asking {
            process: self.id,
            request: self.process.requests.fetch_add(1, Ordering::Relaxed),
            tickets,
        }
    }

    /// Others have taken the process for dead, so the next request registers it anew.
    pub(super) fn forget(&self) {
        let mut state = self.process.state();
        if state.id == Some(self.id) {
            state.id = None;
        }
    }

    /// As [`Process::leave`].
    pub(super) fn leave(&self, asking: Asking, ending: Ending) {
        self.process.leave(asking, ending);
    }
}

impl<DB: Dialect> Drop for Presence<DB> {
    fn drop(&mut self) {
        self.process.state().tickets -= 1;
    }
}

/// Beats as long as there is something to be alive for, and a while longer. Stopped in between,
/// with its runtime, it has others register the process anew.
struct Heart<DB: Dialect>(Arc<Process<DB>>, i64);

impl<DB: Dialect> Heart<DB> {
    async fn beat(self) {
        let Self(process, id) = &self;
        let (mut beaten, mut busy) = (Instant::now(), Instant::now());
        let mut pause = process.lease / 3;
        let mut overdue = HashSet::new();
        loop {
            let left = pause.saturating_sub(beaten.elapsed());
            drop(timeout(left, process.errands.notified()).await);
            let errands = process.run_errands().await;
            if beaten.elapsed() < pause && errands {
                continue;
            }
            beaten = Instant::now();
            let said = process
                .office
                .tell(FUNCTION, sql::beat::<DB>(*id), ())
                .await;
            pause = match said {
                Ok(said) if said.rows.is_empty() => {
                    tracing::warn!(
                        "this process has been silent for longer than its lease: its tickets were given up"
                    );
                    return;
                }
                Ok(said) if errands => {
                    warn_of(&said, &mut overdue);
                    process.lease / 3
                }
                Ok(_) => process.lease / 12,
                Err(error) => {
                    tracing::warn!(%error, "a heartbeat of tickets could not be written down");
                    process.lease / 12
                }
            };
            if !process.is_idle() {
                busy = Instant::now();
            } else if busy.elapsed() > process.lease && self.stop() {
                // Nobody waits for it, and what is not deleted here is so by others.
                drop(
                    process
                        .office
                        .tell(FUNCTION, sql::deregister(*id), ())
                        .await,
                );
                return;
            }
        }
    }

    /// Whether nobody has come in between.
    fn stop(&self) -> bool {
        let mut state = self.0.state();
        let idle = state.tickets == 0 && state.endings.is_empty();
        if idle && state.id == Some(self.1) {
            state.id = None;
        }
        idle
    }
}

impl<DB: Dialect> Drop for Heart<DB> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.id == Some(self.1) {
            state.id = None;
        }
    }
}

fn warn_of(said: &Said, known: &mut HashSet<i64>) {
    // The first row is about the process.
    for row in said.rows.iter().skip(1) {
        let (Some(id), Some(micros)) = (number(row.first()), number(row.get(3))) else {
            continue;
        };
        if known.insert(id) {
            let text = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
            let running = Duration::from_micros(micros.unsigned_abs());
            tracing::warn!(
                ticket = id,
                key = text(1),
                label = text(2),
                ?running,
                "a ticket has been running for longer than its deadline"
            );
        }
    }
}
