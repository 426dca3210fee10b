//! Tickets that run: proved in the transactions under them, and ended with what came of it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::draw::Drawn;
use super::sql::{self, Ending};
use crate::dialect::Dialect;
use crate::identity::DbId;
use crate::lock::{Conclusion, Fence, LockFailure, LockFuture, LockHold, Share};

/// Locks that are held by tickets.
pub(super) struct TicketHold<DB: Dialect> {
    drawn: Arc<Drawn<DB>>,
    fences: Vec<Fence>,
    conclusion: Mutex<Option<Conclusion>>,
    /// Whether a transaction has committed that they are done.
    recorded: AtomicBool,
}

impl<DB: Dialect> TicketHold<DB> {
    pub(super) fn new(fences: Vec<Fence>, drawn: Arc<Drawn<DB>>) -> Self {
        Self {
            drawn,
            fences,
            conclusion: Mutex::default(),
            recorded: AtomicBool::new(false),
        }
    }

    async fn is_held(&self) -> Result<(), LockFailure> {
        let Drawn {
            counter,
            asking,
            function,
            ..
        } = &*self.drawn;
        let said = counter.office.ask(*function, sql::states(*asking)).await;
        let said = said.map_err(|error| self.drawn.failed(error))?;
        let running = said
            .rows
            .iter()
            .filter(|row| row[1].as_deref() == Some("RUNNING"));
        if running.count() == asking.tickets {
            Ok(())
        } else {
            Err(LockFailure::Lost)
        }
    }

    async fn close(self, ending: Ending) -> Result<(), LockFailure> {
        let ended = self.drawn.end(ending).await;
        self.call_next();
        if ended? {
            Ok(())
        } else {
            Err(LockFailure::Lost)
        }
    }

    fn call_next(&self) {
        self.drawn.counter.lines.call(&self.drawn.keys);
    }

    fn ending(&self) -> Ending {
        let conclusion = self.conclusion.lock();
        let conclusion = conclusion.unwrap_or_else(PoisonError::into_inner).take();
        let (state, error) = match conclusion {
            Some(Conclusion::Done) => ("DONE", None),
            Some(Conclusion::Failed(error)) => ("FAILED", Some(error)),
            Some(Conclusion::Dropped) | None => {
                let error = "its future was dropped before it had ended";
                ("CANCELLED", Some(error.to_owned()))
            }
        };
        Ending {
            state,
            error,
            waiting: false,
        }
    }
}

impl<DB: Dialect> LockHold for TicketHold<DB> {
    fn check(&self) -> LockFuture<'_, Result<(), LockFailure>> {
        Box::pin(self.is_held())
    }

    fn open(self: Box<Self>) -> LockFuture<'static, Result<(), LockFailure>> {
        Box::pin(async move {
            if self.recorded.load(Ordering::Acquire) {
                self.drawn.is_over();
                self.call_next();
                return Ok(());
            }
            let ending = self.ending();
            self.close(ending).await
        })
    }

    fn leave(self: Box<Self>) -> LockFuture<'static, ()> {
        Box::pin(async move {
            tokio::time::sleep(self.drawn.counter.terms.lease).await;
            // If the COMMIT has taken effect, and said so, that stays.
            let ending = Ending {
                state: "ABANDONED",
                error: Some("whether its COMMIT took effect is unknown".to_owned()),
                waiting: false,
            };
            drop(self.close(ending).await);
        })
    }

    fn conclude(&self, conclusion: Conclusion) {
        let known = self.conclusion.lock();
        *known.unwrap_or_else(PoisonError::into_inner) = Some(conclusion);
    }

    fn proof(&self, db: DbId, share: Share) -> Option<String> {
        let Drawn {
            counter, asking, ..
        } = &*self.drawn;
        (db == counter.office.database()).then(|| match share {
            Share::Reads => sql::verify::<DB>(*asking, false),
            Share::Part => sql::verify::<DB>(*asking, true),
            Share::Whole => sql::finish::<DB>(*asking),
        })
    }

    fn concluded(&self) {
        self.recorded.store(true, Ordering::Release);
    }

    fn fences(&self) -> Vec<Fence> {
        self.fences.clone()
    }
}

impl<DB: Dialect> fmt::Debug for TicketHold<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketHold")
            .field("keys", &self.drawn.keys)
            .field("fences", &self.fences)
            .finish_non_exhaustive()
    }
}
