//! What is being done under locks, to its end.

use std::sync::Arc;

use super::held::Held;
use super::provider::Conclusion;

/// The locks of somebody who has to say how it ended. Dropped instead, it has panicked or was
/// dropped itself, and the locks open in the background.
#[derive(Debug)]
pub(crate) struct Doing(Option<Arc<Held>>);

impl Doing {
    pub(crate) fn under(held: Arc<Held>) -> Self {
        Self(Some(held))
    }

    pub(crate) fn held(&self) -> Option<&Arc<Held>> {
        self.0.as_ref()
    }

    /// It has ended; the locks are yet to be opened.
    pub(crate) fn ended(mut self, conclusion: Conclusion) -> Option<Arc<Held>> {
        let held = self.0.take();
        if let Some(held) = &held {
            held.record(conclusion);
        }
        held
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        if let Some(held) = &self.0 {
            held.record(if std::thread::panicking() {
                Conclusion::Failed("it panicked".to_owned())
            } else {
                Conclusion::Dropped
            });
        }
    }
}

impl Conclusion {
    pub(crate) fn of<T, E>(result: &Result<T, E>, describe: impl FnOnce(&E) -> String) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(error) => Self::Failed(describe(error)),
        }
    }
}
