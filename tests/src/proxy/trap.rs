//! A fault laid for one message, and the handle with which the test watches it.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::event;

/// A held message goes on after this time in any case: a test must not hang on it.
pub(super) const HOLD_LIMIT: Duration = Duration::from_mins(2);

/// A message that does not come within this time does not come.
const CATCH_LIMIT: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    CutBefore,
    /// Behind this many 256ths of the message.
    CutWithin(u8),
    CutBehind,
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
    /// Whether the message is as far as it gets, or does not get as far, or not yet.
    pub(super) fn is_before(self) -> bool {
        matches!(
            self,
            Self::CutBefore
                | Self::CutWithin(_)
                | Self::CutBehind
                | Self::HoldBefore
                | Self::Swallow
        )
    }

    /// How many bytes of a message of `length` pass before it.
    pub(super) fn passes(self, length: usize) -> usize {
        match self {
            Self::CutWithin(share) => (length * usize::from(share) / 256).clamp(1, length - 1),
            Self::CutBehind => length,
            _ => 0,
        }
    }

    /// Whether it comes with the answer.
    pub(super) fn is_after(self) -> bool {
        matches!(self, Self::CutAnswering | Self::CutAfter | Self::HoldAfter)
    }
}

/// Which message a trap is laid for.
#[derive(Clone, Debug)]
pub(super) enum Prey {
    /// The next from the client whose text matches.
    Text(String),
    /// The one that passes as the n-th, from either side.
    Number(usize),
}

impl fmt::Display for Prey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(pattern) => write!(f, "matching `{pattern}`"),
            Self::Number(number) => write!(f, "of number {number}"),
        }
    }
}

/// The relay's half.
#[derive(Clone)]
pub(super) struct Armed {
    pub(super) moment: Moment,
    prey: Prey,
    state: watch::Sender<State>,
}

impl Armed {
    pub(super) fn new(moment: Moment, prey: Prey) -> (Self, Trap) {
        let (state, _) = watch::channel(State::Armed);
        let armed = Self {
            moment,
            prey: prey.clone(),
            state: state.clone(),
        };
        (armed, Trap { prey, state })
    }

    /// Whether it is for the message of this number and, if it has one, text.
    pub(super) fn is_for(&self, number: usize, text: Option<&str>) -> bool {
        match &self.prey {
            Prey::Text(pattern) => text.is_some_and(|text| event::matches(pattern, text)),
            Prey::Number(prey) => *prey == number,
        }
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

/// A fault laid with one of the `cut` and `hold` methods of [`Proxy`](crate::Proxy), or with its
/// [`strike`](crate::Proxy::strike).
///
/// Dropping it changes nothing: the fault stays laid.
#[derive(Debug)]
pub struct Trap {
    prey: Prey,
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
            "no message {} came through the proxy within {CATCH_LIMIT:?}",
            self.prey
        );
    }

    /// Lets go what is held, now or as soon as it comes; after 30 seconds it goes by itself.
    pub fn release(&self) {
        self.state.send_replace(State::Released);
    }
}
