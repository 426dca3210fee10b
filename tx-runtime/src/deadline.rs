//! When a scope must have finished, and who says so.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::cause::{Cause, CauseKind, Doom};
use crate::site::Site;

/// The end of a scope's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    limit: Duration,
    /// The function whose time it is.
    function: Site,
}

impl Deadline {
    /// `None` for a limit that lies beyond all clocks. `since`: now, if it is none.
    pub(crate) fn after(limit: Duration, since: Option<Instant>, function: Site) -> Option<Self> {
        let since = since.unwrap_or_else(Instant::now);
        Some(Self {
            at: since.checked_add(limit)?,
            limit,
            function,
        })
    }

    /// The earlier of two.
    pub(crate) fn earlier(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) if other.at < one.at => Some(other),
            (one, other) => one.or(other),
        }
    }

    pub(crate) fn has_passed(&self) -> bool {
        Instant::now() >= self.at
    }

    pub(crate) fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whether it comes before `wait` is over.
    pub(crate) fn is_within(&self, wait: Duration) -> bool {
        self.left() <= wait
    }

    /// What it means for a transaction that it has passed.
    pub(crate) fn doom(&self) -> Doom {
        let words = format!("it had not finished within its {:?}", self.limit);
        let cause = Cause::of_function(CauseKind::TimedOut, words);
        Doom::new(self.function, cause)
    }
}

/// Runs `work` until the deadline, if there is one.
///
/// It stays where it is: a future that is handed on by value takes its room twice.
pub(crate) async fn race<T>(
    deadline: Option<Deadline>,
    mut work: Pin<&mut (impl Future<Output = T> + ?Sized)>,
) -> Result<T, Deadline> {
    // In a box, so that scopes without a deadline have no room for it.
    let mut end = deadline.map(|deadline| (Box::pin(sleep_until(deadline.at)), deadline));
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        match &mut end {
            Some((end, deadline)) => end.as_mut().poll(cx).map(|()| Err(*deadline)),
            None => Poll::Pending,
        }
    })
    .await
}
