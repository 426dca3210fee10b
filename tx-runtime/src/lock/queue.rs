//! The waiting room before a provider: exact keys, first come first served.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cleanup::Cleanups;
use crate::error::Error;
use crate::site::Site;

/// Who waits for which key in this process. Clones are one and the same queue.
#[derive(Clone, Debug, Default)]
pub struct LockQueue(Arc<Room>);

#[derive(Debug, Default)]
struct Room {
    places: Mutex<HashMap<Arc<str>, Arc<Place>>>,
    openings: Arc<Cleanups>,
}

/// One key's place in the room; there only while somebody holds or waits.
#[derive(Debug)]
struct Place {
    turn: Arc<Semaphore>,
    holder: Mutex<Option<Holder>>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    function: Site,
    since: Instant,
}

/// The right to one key in this process; dropped, it goes to the next in line.
#[derive(Debug)]
pub(crate) struct Turn {
    queue: LockQueue,
    key: Arc<str>,
    place: Arc<Place>,
    permit: Option<OwnedSemaphorePermit>,
}

impl LockQueue {
    /// A queue of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until the locks that are being opened in the background are open.
    pub async fn drain(&self) {
        self.0.openings.drain().await;
    }

    pub(crate) fn openings(&self) -> &Arc<Cleanups> {
        &self.0.openings
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Waits for the turn on `key`. Dropping the future gives up the place in the line.
    pub(crate) async fn turn(
        &self,
        key: &Arc<str>,
        function: Site,
        wait: Duration,
    ) -> Result<Turn, Error> {
        let started = Instant::now();
        let place = self.place(key);
        let semaphore = Arc::clone(&place.turn);
        let mut turn = Turn {
            queue: self.clone(),
            key: Arc::clone(key),
            place,
            permit: None,
        };
        // A zero timeout would still let the first poll through, but only by chance.
        let permit = match Arc::clone(&semaphore).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => tokio::time::timeout(wait, semaphore.acquire_owned())
                .await
                .ok()
                .and_then(Result::ok),
        };
        if permit.is_none() {
            return Err(Error::LockTimeout {
                function,
                key: key.to_string(),
                waited: started.elapsed(),
                holder: turn.place.describe_holder(),
            });
        }
        turn.permit = permit;
        *turn.place.holder() = Some(Holder {
            function,
            since: Instant::now(),
        });
        Ok(turn)
    }

    /// The right to `key` as somebody else has given it.
    pub(crate) fn given(&self, key: &Arc<str>) -> Turn {
        Turn {
            queue: self.clone(),
            key: Arc::clone(key),
            place: self.place(key),
            permit: None,
        }
    }

    fn place(&self, key: &Arc<str>) -> Arc<Place> {
        let mut places = self.places();
        let place = places.entry(Arc::clone(key)).or_insert_with(|| {
            Arc::new(Place {
                turn: Arc::new(Semaphore::new(1)),
                holder: Mutex::default(),
            })
        });
        Arc::clone(place)
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Place>>> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn holder(&self) -> MutexGuard<'_, Option<Holder>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe_holder(&self) -> Option<String> {
        self.holder().map(|Holder { function, since }| {
            format!("{function} in this process, for {:?}", since.elapsed())
        })
    }
}

impl Turn {
    pub(crate) fn queue(&self) -> &LockQueue {
        &self.queue
    }

    pub(crate) fn key(&self) -> &Arc<str> {
        &self.key
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.permit.is_some() {
            *self.place.holder() = None;
        }
        let mut places = self.queue.places();
        // Under the map's lock, so that nobody joins the line of a place that is taken away.
        self.permit = None;
        // The map's reference and this one: nobody else holds or waits.
        if Arc::strong_count(&self.place) == 2 {
            places.remove(&self.key);
        }
    }
}
