//! Values of one transaction: they are undone with the level that they were put at.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::level::Level;

/// What the scopes of one transaction have put for each other.
#[derive(Default)]
pub(crate) struct Values(Mutex<Vec<Entry>>);

struct Entry {
    level: Arc<Level>,
    value: Arc<dyn Any + Send + Sync>,
}

impl Values {
    /// Puts `value` in the place of the one of its type that `level` had put.
    pub(crate) fn put<T: Any + Send + Sync>(&self, level: &Arc<Level>, value: T) {
        let value = Arc::new(value);
        let mut entries = self.entries();
        let replaced = entries
            .iter()
            .position(|it| it.value.is::<T>() && Arc::ptr_eq(&it.level, level))
            .map(|place| entries.remove(place));
        entries.push(Entry {
            level: Arc::clone(level),
            value,
        });
        // The caller's own code runs in a drop.
        drop(entries);
        drop(replaced);
    }

    /// The latest value of the type that counts for `level`.
    pub(crate) fn get<T: Any + Send + Sync>(&self, level: &Arc<Level>) -> Option<Arc<T>> {
        let entries = self.entries();
        let latest = entries
            .iter()
            .rev()
            .find(|it| it.value.is::<T>() && it.level.counts_for(level))?;
        Arc::clone(&latest.value).downcast().ok()
    }

    /// The transaction has ended.
    pub(crate) fn clear(&self) {
        let ended = std::mem::take(&mut *self.entries());
        drop(ended);
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
