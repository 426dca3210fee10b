//! Who of this process waits for which key: the one in front asks the database for all.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The lines of this process, by key: tickets in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(Arc<Mutex<HashMap<Arc<str>, Line>>>);

type Line = BTreeMap<i64, Arc<Notify>>;

/// A place in the lines for some keys.
#[derive(Debug)]
pub(super) struct Place {
    lines: Lines,
    /// The number of the ticket for each key.
    tickets: Vec<(Arc<str>, i64)>,
    called: Arc<Notify>,
}

impl Lines {
    pub(super) fn stand(&self, tickets: Vec<(Arc<str>, i64)>) -> Place {
        let called = Arc::new(Notify::new());
        let mut lines = self.lock();
        for (key, ticket) in &tickets {
            let line = lines.entry(Arc::clone(key)).or_default();
            line.insert(*ticket, Arc::clone(&called));
        }
        drop(lines);
        Place {
            lines: self.clone(),
            tickets,
            called,
        }
    }

    /// Something has changed for `keys`: whoever is in front goes and sees.
    pub(super) fn call<'k>(&self, keys: impl IntoIterator<Item = &'k Arc<str>>) {
        let lines = self.lock();
        for key in keys {
            let front = lines.get(key).and_then(BTreeMap::first_key_value);
            if let Some((_, called)) = front {
                called.notify_one();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether nobody of this process is before it, for any of its keys.
    pub(super) fn is_in_front(&self) -> bool {
        let lines = self.lines.lock();
        self.tickets.iter().all(|(key, ticket)| {
            let front = lines.get(key).and_then(BTreeMap::first_key_value);
            front.is_none_or(|(first, _)| first == ticket)
        })
    }

    /// Resolves when it may have come to the front, or the lock may be free.
    pub(super) fn called(&self) -> Notified<'_> {
        self.called.notified()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        for (key, ticket) in &self.tickets {
            if let Some(line) = lines.get_mut(key) {
                line.remove(ticket);
                if line.is_empty() {
                    lines.remove(key);
                }
            }
        }
        drop(lines);
        self.lines.call(self.tickets.iter().map(|(key, _)| key));
    }
}
