//! A fault laid for one message, and the handle with which the test watches it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::event;

/// A held message goes on after this time in any case: a test must not hang on it.
pub(super) const HOLD_LIMIT: Duration = Duration::from_secs(30);

/// A message that does not come within this time does not come.
const CATCH_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    CutBefore,
    CutWithin,
    CutDuring,
    CutAnswering,
    CutAfter,
    Swallow,
    HoldBefore,
    HoldAfter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Armed,
    Sprung,
    Released,
}

impl Moment {
    /// Whether the server does not get the message, or not yet, or not whole.
    pub(super) fn is_before(self) -> bool {
        matches!(
            self,
            Self::CutBefore | Self::CutWithin | Self::HoldBefore | Self::Swallow
        )
    }

    /// Whether it comes with the answer.
    pub(super) fn is_after(self) -> bool {
        matches!(self, Self::CutAnswering | Self::CutAfter | Self::HoldAfter)
    }
}

/// The relay's half.
#[derive(Clone)]
pub(super) struct Armed {
    pub(super) moment: Moment,
    pattern: String,
    state: watch::Sender<State>,
}

impl Armed {
    pub(super) fn new(moment: Moment, pattern: &str) -> (Self, Trap) {
        let (state, _) = watch::channel(State::Armed);
        let armed = Self {
            moment,
            pattern: pattern.to_owned(),
            state: state.clone(),
        };
        let pattern = pattern.to_owned();
        (armed, Trap { pattern, state })
    }

    pub(super) fn is_for(&self, message: &str) -> bool {
        event::matches(&self.pattern, message)
    }

    pub(super) fn spring(&self) {
        self.state.send_if_modified(|state| {
            let armed = *state == State::Armed;
            if armed {
                *state = State::Sprung;
            }
            armed
        });
    }

    /// Waits for the test to release what is held.
    pub(super) async fn released(&self) {
        let mut state = self.state.subscribe();
        let released = state.wait_for(|state| *state == State::Released);
        drop(timeout(HOLD_LIMIT, released).await);
    }
}

/// A fault laid with one of the `cut` and `hold` methods of [`Proxy`](crate::Proxy).
///
/// Dropping it changes nothing: the fault stays laid.
#[derive(Debug)]
pub struct Trap {
    pattern: String,
    state: watch::Sender<State>,
}

impl Trap {
    /// Whether the message has come.
    #[must_use]
    pub fn has_sprung(&self) -> bool {
        *self.state.borrow() >= State::Sprung
    }

    /// Waits until the message has come: for `_after`, until the server has answered it.
    ///
    /// # Panics
    ///
    /// If it does not come within 10 seconds.
    pub async fn sprung(&self) {
        let mut state = self.state.subscribe();
        let sprung = state.wait_for(|state| *state >= State::Sprung);
        assert!(
            timeout(CATCH_LIMIT, sprung).await.is_ok(),
            "no message matching `{}` came through the proxy within {CATCH_LIMIT:?}",
            self.pattern
        );
    }

    /// Lets go what is held, now or as soon as it comes; after 30 seconds it goes by itself.
    pub fn release(&self) {
        self.state.send_replace(State::Released);
    }
}
